"""Readers of packages: dpkg, apk, RPM, Python and npm."""

import json
import lzma
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ecr_emulator.scanners.packages import Package, parse_os_release
from ecr_emulator.scanners.readers import apk, bdb, dpkg, node, python, reader_for, rpm
from tests import scanned_images


@pytest.mark.parametrize(
    ("path", "reader"),
    [
        ("var/lib/dpkg/status", dpkg.read),
        ("var/lib/dpkg/status.d/base", dpkg.read),
        ("var/lib/dpkg/status.d/base.md5sums", None),
        ("var/lib/dpkg/status-old", None),
        ("lib/apk/db/installed", apk.read),
        ("usr/lib/apk/db/installed", apk.read),
        ("var/lib/rpm/rpmdb.sqlite", rpm.read_sqlite),
        ("usr/lib/sysimage/rpm/Packages.db", rpm.read_ndb),
        ("var/lib/rpm/Packages", rpm.read_bdb),
        ("var/lib/rpm/Name", None),
        ("opt/venv/lib/python3.12/site-packages/idna-3.7.dist-info/METADATA", python.read),
        ("usr/lib/python3/dist-packages/six-1.16.0.egg-info", python.read),
        ("usr/lib/python3/dist-packages/six-1.16.0.egg-info/PKG-INFO", python.read),
        ("usr/lib/METADATA", None),
        ("node_modules/a/package.json", node.read),
        ("app/node_modules/a/node_modules/@scope/b/package.json", node.read),
        ("app/package.json", None),
        ("app/node_modules/a/test/package.json", None),
    ],
)
def test_a_path_tells_the_reader(path, reader):
    assert reader_for(path) is reader


def test_dpkg_has_what_is_installed_with_its_source():
    assert dpkg.read(scanned_images.DPKG_STATUS) == [
        Package("libssl3", "3.0.9-1", arch="amd64", source_name="openssl"),
        Package("bash", "5.2.15-2+b2", arch="amd64", source_name="bash", source_version="5.2.15-2"),
    ]


def test_a_file_of_one_package_needs_no_status():
    assert dpkg.read(b"Package: base-files\nVersion: 12.4\n") == [Package("base-files", "12.4")]


def test_apk_has_what_is_installed_with_its_origin():
    assert apk.read(scanned_images.APK_INSTALLED) == [
        Package("libcrypto3", "3.1.0-r0", arch="x86_64", source_name="openssl"),
        Package("musl", "1.2.4-r1", arch="x86_64"),
    ]


def test_python_has_its_metadata_and_not_the_description():
    assert python.read(scanned_images.PYTHON_METADATA) == [Package("Jinja2", "3.1.2", "PYTHONPKG")]
    assert python.read(b"Name: no-version\n") == []


@pytest.mark.parametrize("manifest", [b"[]", b"{}", b'{"name": "a", "version": 1}', b'{"version": "1.0.0"}'])
def test_a_manifest_without_name_and_version_is_of_no_package(manifest):
    assert node.read(manifest) == []


@pytest.mark.parametrize("manifest", [b"", b"{", b"[" * 100_000, b"\xff"])
def test_a_manifest_that_is_no_json_is_refused(manifest):
    with pytest.raises(ValueError):  # noqa: PT011 - any text
        node.read(manifest)


HEADERS = [
    scanned_images.rpm_header(
        name="openssl-libs",
        version="3.0.7",
        release="24.el9",
        epoch=1,
        arch="x86_64",
        source="openssl-3.0.7-24.el9.src.rpm",
    ),
    scanned_images.rpm_header(name="gpg-pubkey", version="1", release="1"),
    scanned_images.rpm_header(name="bash", version="5.1.8", release="6.el9", arch="x86_64"),
]
RPM_PACKAGES = [
    Package("openssl-libs", "1:3.0.7-24.el9", arch="x86_64", source_name="openssl"),
    Package("bash", "5.1.8-6.el9", arch="x86_64"),
]


def test_rpm_has_its_headers_in_sqlite(tmp_path):
    assert rpm.read_sqlite(scanned_images.rpm_sqlite(tmp_path, HEADERS)) == RPM_PACKAGES


def test_rpm_has_its_headers_in_ndb():
    assert rpm.read_ndb(scanned_images.rpm_ndb(HEADERS)) == RPM_PACKAGES


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"SQLite format 3\0",
        b"SQLite format 3\0" + b"\xff" * 4096,
        scanned_images.rpm_ndb(HEADERS)[:4200],
        b"RpmP" + b"\xff" * 8192,
    ],
)
def test_a_broken_rpm_database_is_refused(content):
    reader = rpm.read_ndb if content.startswith(b"Rpm") else rpm.read_sqlite
    with pytest.raises(ValueError):  # noqa: PT011 - any text
        reader(content)


BDB = {path.name: lzma.decompress(path.read_bytes()) for path in scanned_images.RPM.glob("*.xz")}
SMALL_PAGES, RPMS_PAGES = BDB["Packages-512.xz"], BDB["Packages-4096.xz"]


@pytest.mark.parametrize("name", BDB)
def test_rpm_has_its_headers_in_berkeley_db(name):
    """As many as RPM itself finds in it: on pages and off them, of several sizes and both byte orders."""
    described = [
        f"{package.version.rpartition(':')[0]}:{package.name}-{package.version.rpartition(':')[2]}.{package.arch}"
        for package in rpm.read_bdb(BDB[name])
    ]
    listed = (scanned_images.RPM / "packages.txt").read_text().splitlines()
    assert sorted(line.removeprefix(":") for line in described) == listed


def test_long_items_are_whole():
    long = [value for _, value in bdb.items(SMALL_PAGES) if b"says for the" in value]
    assert long
    for value in long:
        places = [value.index(f"says for the {line}th time".encode()) for line in range(200)]
        assert places == sorted(places)
    assert dict(bdb.items(SMALL_PAGES)) == dict(bdb.items(RPMS_PAGES))


def overflow_pages(content, size):
    """The places of pages that an item goes on from, and the ones that it goes on with."""
    for at in range(0, len(content), size):
        (following,) = struct.unpack_from("<I", content, at + 16)
        if content[at + 25] == 7 and following:
            yield at, following * size


def damaged(at, form, *values, content=SMALL_PAGES):
    changed = bytearray(content)
    struct.pack_into(form, changed, at, *values)
    return bytes(changed)


FROM, TO = next(overflow_pages(SMALL_PAGES, 512))
OTHER = next(at for at, _ in overflow_pages(SMALL_PAGES, 512) if at not in (FROM, TO))
ITEMS = next(at for at in range(0, len(SMALL_PAGES), 512) if SMALL_PAGES[at + 25] == 13)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a hash database of Berkeley DB"),
        (SMALL_PAGES[:30], "cut off"),
        (SMALL_PAGES[:-1], "cut off"),
        (damaged(16, "<I", 7), "not a hash database that RPM writes"),
        (damaged(20, "<I", 513), "not a hash database that RPM writes"),
        (damaged(25, "B", 9), "not a hash database that RPM writes"),
        (damaged(24, "B", 1), "encrypted"),
        (damaged(26, "B", 1), "checksums"),
        (damaged(ITEMS + 20, "<H", 3), "has no value"),
        (damaged(ITEMS + 20, "<H", 65534), "cut off"),
        (damaged(ITEMS + 26, "<H", 600), "a hash page"),
        (damaged(ITEMS + 26, "<H", 20), "a hash page"),
        (damaged(ITEMS + struct.unpack_from("<H", SMALL_PAGES, ITEMS + 26)[0], "B", 2), "no kind"),
        (damaged(FROM + 16, "<I", FROM // 512), "in several places"),
        (damaged(FROM + 16, "<I", OTHER // 512), "in several places"),
        (damaged(FROM + 16, "<I", 0), "a page of the Berkeley DB database is missing"),
        (damaged(FROM + 16, "<I", 1 << 31), "a page of the Berkeley DB database is missing"),
        (damaged(FROM + 22, "<H", 0), "an overflow page"),
        (damaged(FROM + 22, "<H", 487), "an overflow page"),
        (damaged(TO + 25, "B", 0), "an overflow page"),
    ],
)
def test_a_damaged_berkeley_db_is_refused(content, message):
    with pytest.raises(ValueError, match=message):
        rpm.read_bdb(content)


# Mostly of what is in the first bytes of a page: its kind, what it is linked to, and where its items are.
PLACES = st.builds(lambda page, at: 512 * page + at, st.integers(0, 511), st.integers(0, 40)) | st.integers(
    0, 1 << 18
)


@given(
    st.sampled_from(sorted(BDB)),
    st.lists(st.tuples(PLACES, st.binary(min_size=1, max_size=4)), min_size=1),
    st.none() | st.integers(0, 1 << 18),
)
@example("Packages-512.xz", [(32, b"\xff\xff\xff\xff")], None)
def test_no_damage_to_a_berkeley_db_is_worse_than_a_value_error(name, changes, end):
    content = bytearray(BDB[name])
    for place, value in changes:
        at = place % len(content)
        content[at : at + len(value)] = value
    try:
        rpm.read_bdb(bytes(content[:end]))
        read = sum(len(value) for _, value in bdb.items(bytes(content[:end])))
    except ValueError:
        return
    assert read <= len(content)


@given(st.binary(max_size=300), st.integers(0, 2))
def test_no_bytes_are_worse_than_a_value_error(content, kind):
    start = (b"", b"RpmP" + b"\0" * 8 + b"\1\0\0\0", b"SQLite format 3\0")[kind]
    for reader in (dpkg.read, apk.read, python.read, node.read, rpm.read_sqlite, rpm.read_ndb, rpm.read_bdb):
        try:
            reader(start + content)
        except ValueError:
            continue


@pytest.mark.parametrize(
    ("content", "platform", "ecosystem"),
    [
        (scanned_images.DEBIAN_RELEASE, "DEBIAN_12", ("Debian", "12")),
        (scanned_images.ALPINE_RELEASE, "ALPINE_LINUX_3_18_4", ("Alpine", "v3.18")),
        (b"ID=ubuntu\nVERSION_ID='22.04'", "UBUNTU_22_04", ("Ubuntu", "22.04")),
        (b'ID="rocky"\nVERSION_ID="9.3"', "ROCKY_LINUX_9_3", ("Rocky Linux", "9")),
        (b'ID="opensuse-leap"\nVERSION_ID="15.5"', "OPENSUSE_LEAP_15_5", ("openSUSE", "Leap 15.5")),
        (b'ID="centos"\nVERSION_ID="7"', "CENTOS_7", ("Red Hat", "7")),
        (b'ID="amzn"\nVERSION_ID="2023"', "AMAZON_LINUX_2023", ("Amazon Linux", "2023")),
        (b"ID=wolfi\n", "WOLFI", ("Wolfi", "")),
        (b"ID=elxr\nVERSION_ID=12", "ELXR_12", None),
    ],
)
def test_a_system_is_known_by_its_id(content, platform, ecosystem):
    system = parse_os_release(content)
    assert system.platform == platform
    found = system.ecosystem
    assert (found and (found.name, found.release)) == ecosystem


def test_a_file_without_an_id_names_no_system():
    assert parse_os_release(b"NAME=x\nVERSION_ID=1\n") is None


def test_json_is_what_a_manifest_has():
    assert node.read(json.dumps({"name": "@a/b", "version": "1.0.0"}).encode()) == [
        Package("@a/b", "1.0.0", "NODEPKG")
    ]
