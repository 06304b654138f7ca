"""The packages in layers: whiteouts, compression, and what an archive may cost."""

import gzip
import io
import json
import lzma
import tarfile
import types

import pytest

from ecr_emulator.scanners import inventory
from ecr_emulator.scanners.base import ScannedBlob
from ecr_emulator.scanners.inventory import Budget, ScanStoppedError, inventory_of, main, take
from tests.scanned_images import APK_INSTALLED, DEBIAN, DEBIAN_RELEASE, DPKG_STATUS, NODE, PYTHON, RPM, layer


@pytest.fixture
def stack(tmp_path):
    """Gives the blobs of layers, which are named by their number from the lowest on."""

    def blobs(*contents):
        found = []
        for number, content in enumerate(contents):
            path = tmp_path / str(number)
            path.write_bytes(content)
            found.append(ScannedBlob(str(number), path))
        return found

    return blobs


def taken(blobs, max_bytes=1 << 24, max_seconds=30.0):
    return take(blobs, Budget(max_bytes, max_seconds))


def names(found):
    return [(package.name, package.layer) for package in found.packages]


def test_packages_have_the_layer_that_brought_them(stack):
    more = DPKG_STATUS + b"\nPackage: curl\nVersion: 7.88\n"
    found = taken(stack(layer(DEBIAN), layer({"var/lib/dpkg/status": more}), layer(PYTHON | NODE)))
    assert names(found) == [("libssl3", "0"), ("bash", "0"), ("curl", "1"), ("Jinja2", "2"), ("lodash", "2")]
    assert found.distribution.platform == "DEBIAN_12"
    assert found.has_database
    paths = [package.path for package in found.packages]
    assert paths == [None, None, None, *PYTHON, *NODE]


def test_an_upgraded_package_is_of_the_layer_that_upgraded_it(stack):
    upgraded = DPKG_STATUS.replace(b"3.0.9-1", b"3.0.11-1")
    found = taken(stack(layer(DEBIAN), layer({"var/lib/dpkg/status": upgraded})))
    assert names(found) == [("libssl3", "1"), ("bash", "0")]


@pytest.mark.parametrize("prefix", ["", "./", "/"])
@pytest.mark.parametrize("compress", [True, False])
def test_names_and_compression_may_be_written_in_any_way(stack, prefix, compress):
    found = taken(stack(layer(DEBIAN, prefix=prefix, compress=compress)))
    assert [package.name for package in found.packages] == ["libssl3", "bash"]


@pytest.mark.parametrize(
    ("upper", "left"),
    [
        ({"usr/lib/python3/site-packages/.wh.jinja2-3.1.2.dist-info": b""}, ["lodash"]),
        ({"usr/.wh.lib": b""}, ["lodash"]),
        ({".wh.usr": b"", "usr/new": b""}, ["lodash"]),
        ({"usr/.wh..wh..opq": b""}, ["lodash"]),
        ({".wh..wh..opq": b""}, []),
        ({"usr/lib/.wh.python": b""}, ["Jinja2", "lodash"]),
        ({"app/node_modules": b"a file in the place of a folder"}, ["Jinja2"]),
        ({"app/node_modules/lodash/package.json": b"{}"}, ["Jinja2"]),
        # A whiteout hides what is below, not what its own layer brings.
        ({"usr/.wh..wh..opq": b""} | PYTHON, ["lodash", "Jinja2"]),
        (PYTHON | {"usr/.wh.lib": b""}, ["lodash", "Jinja2"]),
    ],
)
def test_whiteouts_and_what_takes_their_place_hide_what_is_below(stack, upper, left):
    found = taken(stack(layer(PYTHON | NODE), layer(upper)))
    assert [package.name for package in found.packages] == left


def test_a_link_to_the_release_file_leads_to_the_real_one(stack):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        link = tarfile.TarInfo("etc/os-release")
        link.type, link.linkname = tarfile.SYMTYPE, "../usr/lib/os-release"
        archive.addfile(link)
    found = taken(stack(layer({"usr/lib/os-release": DEBIAN_RELEASE}), buffer.getvalue()))
    assert found.distribution.id == "debian"


def test_a_layer_of_nothing_is_fine(stack):
    found = taken(stack(layer({})))
    assert (found.packages, found.distribution, found.has_database) == ([], None, False)


def test_a_decompression_bomb_ends_the_scan(stack):
    bomb = gzip.compress(layer({"bomb": bytes(8 << 20)}, compress=False))
    assert len(bomb) < 64 << 10
    with pytest.raises(ScanStoppedError, match="more than 1 MiB decompressed") as raised:
        taken(stack(bomb), max_bytes=1 << 20)
    assert raised.value.status == "IMAGE_SIZE_EXCEEDED"


def test_all_layers_share_one_budget(stack):
    half = layer({"half": bytes(700 << 10)})
    taken(stack(half), max_bytes=1 << 20)
    with pytest.raises(ScanStoppedError, match="decompressed"):
        taken(stack(half, half), max_bytes=1 << 20)


def test_time_that_is_up_ends_the_scan(stack):
    with pytest.raises(ScanStoppedError, match="too long") as raised:
        taken(stack(layer(DEBIAN)), max_seconds=0)
    assert raised.value.status == "FAILED"


def test_a_header_that_asks_for_memory_is_refused(stack):
    header = tarfile.TarInfo("././@PaxHeader")
    header.type, header.size = tarfile.XHDTYPE, 1 << 33
    with pytest.raises(ScanStoppedError, match="a header is too long") as raised:
        taken(stack(header.tobuf(tarfile.USTAR_FORMAT | tarfile.GNU_FORMAT)), max_bytes=1 << 40)
    assert raised.value.status == "UNSUPPORTED_IMAGE"


@pytest.mark.parametrize(
    "content",
    [b"no archive", b"", b"\x1f\x8b broken", layer(DEBIAN)[:-200], layer(DEBIAN, compress=False)[:700]],
)
def test_what_is_no_whole_archive_is_unsupported(stack, content):
    with pytest.raises(ScanStoppedError, match="The layer 0 can't be read") as raised:
        taken(stack(content))
    assert raised.value.status == "UNSUPPORTED_IMAGE"


def test_a_package_database_that_is_broken_fails_the_scan(stack):
    with pytest.raises(ScanStoppedError, match=r"rpmdb\.sqlite can't be read") as raised:
        taken(stack(layer({"var/lib/rpm/rpmdb.sqlite": b"broken"})))
    assert raised.value.status == "FAILED"


def test_packages_of_amazon_linux_2_are_found(stack):
    packages = lzma.decompress((RPM / "Packages-4096.xz").read_bytes())
    release = b'NAME="Amazon Linux"\nVERSION="2"\nID="amzn"\nVERSION_ID="2"\n'
    found = taken(stack(layer({"etc/os-release": release, "var/lib/rpm/Packages": packages})))
    assert (found.distribution.platform, found.has_database) == ("AMAZON_LINUX_2", True)
    assert ("package-11", "0") in names(found)
    with pytest.raises(ScanStoppedError, match=r"rpm/Packages can't be read: .* is cut off") as stopped:
        taken(stack(layer({"var/lib/rpm/Packages": packages[:-1]})))
    assert stopped.value.status == "FAILED"


def test_a_manifest_that_is_broken_or_large_is_passed_over(stack, monkeypatch):
    monkeypatch.setattr(inventory, "_MAX_FILE", 100)
    files = {
        "node_modules/a/package.json": b"{",
        "node_modules/b/package.json": b'{"name": "b"}' + b" " * 100,
    }
    assert taken(stack(layer(files | NODE))).packages[0].name == "lodash"


def test_a_package_database_that_is_too_large_fails_the_scan(stack, monkeypatch):
    monkeypatch.setattr(inventory, "_MAX_DATABASE", 10)
    with pytest.raises(ScanStoppedError, match="is larger than 10 bytes"):
        taken(stack(layer({"lib/apk/db/installed": APK_INSTALLED})))


def test_too_many_packages_fail_the_scan(stack, monkeypatch):
    monkeypatch.setattr(inventory, "_MAX_PACKAGES", 1)
    with pytest.raises(ScanStoppedError, match="more than 1 packages"):
        taken(stack(layer(DEBIAN)))


ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


def test_zstd_needs_what_reads_it(stack, monkeypatch):
    monkeypatch.setattr(inventory, "_ZSTD_MODULES", ("no_such_module",))
    with pytest.raises(ScanStoppedError, match="compressed with zstd") as raised:
        taken(stack(ZSTD_MAGIC))
    assert raised.value.status == "FAILED"


def test_zstd_is_read_by_the_first_module_that_is_there(stack, monkeypatch):
    # Stands in for the module's ZstdFile: what follows the magic is not compressed.
    class ZstdFile(io.BytesIO):
        def __init__(self, file):
            super().__init__(file.read()[len(ZSTD_MAGIC) :])

    monkeypatch.setattr(inventory, "_ZSTD_MODULES", ("no_such_module", "some_zstd"))
    monkeypatch.setitem(__import__("sys").modules, "some_zstd", types.SimpleNamespace(ZstdFile=ZstdFile))
    found = taken(stack(ZSTD_MAGIC + layer(DEBIAN, compress=False)))
    assert [package.name for package in found.packages] == ["libssl3", "bash"]


def run_main(blobs, monkeypatch, **order):
    monkeypatch.setattr(inventory, "_limit_process", lambda _seconds: None)
    written = []
    layers = [{"digest": blob.digest, "path": str(blob.path)} for blob in blobs]
    order = {"layers": layers, "max_bytes": 1 << 24, "max_seconds": 30} | order
    main(lambda: json.dumps(order), written.append)
    return json.loads("".join(written))


def test_what_the_process_writes_is_the_inventory(stack, monkeypatch):
    blobs = stack(layer(DEBIAN | PYTHON))
    assert inventory_of(run_main(blobs, monkeypatch)) == taken(blobs)


def test_what_the_process_writes_can_be_why_there_is_none(stack, monkeypatch):
    answer = run_main(stack(layer(DEBIAN)), monkeypatch, max_bytes=10)
    with pytest.raises(ScanStoppedError) as raised:
        inventory_of(answer)
    assert raised.value.status == "IMAGE_SIZE_EXCEEDED"
