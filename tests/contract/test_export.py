"""``export`` and ``import``: what comes back is what was there."""

import gzip
import hashlib
import io
import json
import shutil
import sqlite3
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from ecr_emulator.core.bundle import TarWriter
from tests.contract import stores
from tests.contract.conftest import connect, put_image, refused
from tests.contract.stores import ACCOUNT, OTHER, Done, run, serving

ALL = ((ACCOUNT, "us-east-1"), (OTHER, "eu-west-1"), (OTHER, "us-west-2"))


@pytest.fixture(scope="module")
def original(filled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of a server that has two registries, and its export."""
    folder = tmp_path_factory.mktemp("original")
    shutil.copytree(filled, folder / "data")
    with serving(folder / "data"):
        done = run("export", folder / "all.tar", "--data-dir", folder / "data")
        assert done.status == 0, done.err
        assert "exported 4 repositories, 8 images" in done.err
    return folder


@pytest.fixture(scope="module")
def expected(original: Path) -> dict[str, Any]:
    """What the original answers, which the asking changes: pulls are recorded."""
    shutil.copytree(original / "data", original / "asked")
    with serving(original / "asked") as server:
        return {f"{account}/{region}": stores.answers(server, account, region) for account, region in ALL}


def entries(path: Path) -> dict[str, bytes]:
    """The files of a tar; none of the paths is there twice with other bytes."""
    found: dict[str, bytes] = {}
    with tarfile.open(path) as tar:
        for entry in tar:
            content = tar.extractfile(entry).read() if entry.isreg() else b""  # type: ignore[union-attr]
            assert found.setdefault(entry.name, content) == content
    return found


def write_tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def imported(archive: Path, data: Path, *flags: str) -> Done:
    return run("import", archive, "--data-dir", data, *flags)


def test_an_import_answers_as_the_original(original: Path, expected: dict[str, Any], tmp_path: Path) -> None:
    done = imported(original / "all.tar", tmp_path / "data")
    assert done.status == 0, done.err
    with serving(tmp_path / "data") as server:
        for account, region in ALL:
            actual = stores.answers(server, account, region)
            assert actual.keys() == expected[f"{account}/{region}"].keys()
            for asked, answer in expected[f"{account}/{region}"].items():
                assert actual[asked] == answer, asked
    assert run("check", "--data-dir", tmp_path / "data").status == 0
    # Once more, and nothing is new.
    again = imported(original / "all.tar", tmp_path / "data")
    assert "0 new blobs" in again.err
    assert run("export", tmp_path / "again.tar", "--data-dir", tmp_path / "data").status == 0
    assert (tmp_path / "again.tar").read_bytes() == (original / "all.tar").read_bytes()


def test_an_export_is_oci_layouts_with_every_blob_once(original: Path) -> None:
    with tarfile.open(original / "all.tar") as tar:
        names = [entry.name for entry in tar]
        assert names[0] == "metadata.json"
        links = {entry.name: entry.linkname for entry in tar if entry.issym()}
    files = entries(original / "all.tar")
    layouts = [name.removesuffix("oci-layout") for name in files if name.endswith("oci-layout")]
    assert f"{ACCOUNT}/us-east-1/shop+cart+blobs/" in layouts
    for layout in layouts:
        index = json.loads(files[f"{layout}index.json"])
        for entry in index["manifests"]:
            algorithm, _, encoded = entry["digest"].partition(":")
            content = files[f"blobs/{algorithm}/{encoded}"]
            assert hashlib.new(algorithm, content).hexdigest() == encoded
            assert len(content) == entry["size"]
        assert not layout or links[f"{layout}blobs"] == "../../../blobs"
    tags = {
        entry["annotations"]["org.opencontainers.image.ref.name"]
        for entry in json.loads(files[f"{ACCOUNT}/us-east-1/shop+cart/index.json"])["manifests"]
        if "annotations" in entry
    }
    assert tags == {"v1", "dev-1", "v2"}
    named = {
        entry["annotations"]["org.opencontainers.image.ref.name"]
        for entry in json.loads(files["index.json"])["manifests"]
    }
    assert f"{OTHER}.dkr.ecr.eu-west-1.amazonaws.com/shop/cart:v2" in named
    layer = f"blobs/sha256/{hashlib.sha256(b'layer seed').hexdigest()}"
    assert names.count(layer) == 1


def test_no_secret_is_exported(original: Path, tmp_path: Path) -> None:
    with serving(original / "data") as server:
        ecr = connect(server.url, ACCOUNT)
        ecr.create_repository(repositoryName="prod/signed")
        put_image(ecr, "prod/signed", "v1", seed="signed")
        server.manage("run/signing", {})
        assert run("export", tmp_path / "x.tar", "--data-dir", original / "data").status == 0
        ecr.delete_repository(repositoryName="prod/signed", force=True)
    with sqlite3.connect(original / "data" / "metadata.sqlite") as database:
        secrets = [
            value
            for (value,) in database.execute(
                "SELECT value FROM registry_values WHERE name LIKE 'signing-profile:%'"
                " UNION SELECT value FROM server_values WHERE name = 'seal-key'"
            )
        ]
    assert len(secrets) == 2
    content = (tmp_path / "x.tar").read_bytes()
    assert not any(secret.encode() in content for secret in secrets)
    assert b"PRIVATE KEY" not in content


def test_one_registry_can_become_another(original: Path, expected: dict[str, Any], tmp_path: Path) -> None:
    new = "777788889999"
    flags = ("--account", ACCOUNT, "--region", "us-east-1", "--data-dir", original / "data")
    assert run("export", tmp_path / "one.tar", *flags).status == 0
    done = imported(tmp_path / "one.tar", tmp_path / "data", "--into", f"{new}/eu-central-1")
    assert done.status == 0, done.err
    with serving(tmp_path / "data") as server:
        actual = stores.answers(server, new, "eu-central-1")
        assert stores.answers(server, ACCOUNT, "us-east-1")["repositories"]["repositories"] == []
    text = json.dumps(expected[f"{ACCOUNT}/us-east-1"], default=str)
    text = text.replace("us-east-1", "eu-central-1").replace(ACCOUNT, new)
    actual, wanted = json.loads(json.dumps(actual, default=str)), json.loads(text)
    for asked, answer in wanted.items():
        assert actual[asked] == answer, asked
    several = imported(original / "all.tar", tmp_path / "other", "--into", f"{new}/eu-central-1")
    assert (several.status, "an export of 3 registries can't become one" in several.err) == (1, True)


def test_what_is_there_besides_stays(original: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "data") as server:
        ecr = connect(server.url, ACCOUNT)
        ecr.create_repository(repositoryName="shop/cart", encryptionConfiguration={"encryptionType": "KMS"})
        ecr.create_repository(repositoryName="mine")
        mine = put_image(ecr, "shop/cart", "mine", seed="mine")
        moved = put_image(ecr, "shop/cart", "v2", seed="another")
        # Beside the server.
        done = imported(original / "all.tar", tmp_path / "data")
        assert done.status == 0, done.err
        images = ecr.describe_images(repositoryName="shop/cart")["imageDetails"]
        tags = {image["imageDigest"]: image.get("imageTags", []) for image in images}
        assert tags[mine] == ["mine"]
        assert tags[moved] == []
        assert ["v2"] in tags.values()
        names = [each["repositoryName"] for each in ecr.describe_repositories()["repositories"]]
        assert "mine" in names
        # What was imported is as the server wants it.
        assert refused(ecr.put_image, repositoryName="shop/cart", imageManifest="{}", imageTag="v2")
    assert run("check", "--data-dir", tmp_path / "data").status == 0


def test_an_import_can_be_compressed_and_can_be_cut_short(original: Path, tmp_path: Path) -> None:
    whole = (original / "all.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[: len(whole) // 2])
    done = imported(tmp_path / "cut.tar", tmp_path / "data")
    assert done.status == 1
    assert done.err.splitlines()[-1].startswith("ecr-emulator: ")
    # Not even a part is damaged.
    assert run("check", "--data-dir", tmp_path / "data").status == 0
    (tmp_path / "all.tar.gz").write_bytes(gzip.compress(whole, 1))
    assert imported(tmp_path / "all.tar.gz", tmp_path / "data").status == 0
    assert run("export", tmp_path / "again.tar", "--data-dir", tmp_path / "data").status == 0
    assert (tmp_path / "again.tar").read_bytes() == whole


def test_pipes_do(original: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ecr_emulator"]
    target = ["import", "-", "--data-dir", tmp_path / "data"]
    with subprocess.Popen([*command, "export", "-", "--data-dir", original / "data"], stdout=-1) as exporting:
        subprocess.run([*command, *target], stdin=exporting.stdout, check=True)
    assert exporting.returncode == 0
    assert run("export", tmp_path / "x.tar", "--data-dir", tmp_path / "data").status == 0
    assert (tmp_path / "x.tar").read_bytes() == (original / "all.tar").read_bytes()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("blob", "has the digest"),
        ("manifest", "has the digest"),
        ("no blob", "is missing"),
        ("no manifest", "is missing"),
        ("version", "version: 1 was expected"),
        ("member", "images[0]: Additional properties are not allowed ('colour' was unexpected)"),
        ("first", "this is no export"),
        ("empty", "this is no export: it is empty"),
        ("cut", "this export is cut off"),
        ("policy", "Invalid repository policy provided"),
    ],
)
def test_a_damaged_export_is_refused(original: Path, tmp_path: Path, change: str, problem: str) -> None:
    files = entries(original / "all.tar")
    repository = f"{ACCOUNT}/us-east-1/shop+cart/metadata.json"
    document = json.loads(files[repository])
    blob = f"blobs/sha256/{hashlib.sha256(b'layer seed').hexdigest()}"
    manifest = f"blobs/{document['images'][0]['digest'].replace(':', '/')}"
    if change == "blob":
        files[blob] = b"LAYER seed"
    elif change == "manifest":
        files[manifest] = files[manifest].replace(b"config", b"CONFIG")
    elif change == "no blob":
        del files[blob]
    elif change == "no manifest":
        del files[manifest]
    elif change == "version":
        files["metadata.json"] = b'{"version": 2, "registries": []}'
    elif change == "member":
        document["images"][0]["colour"] = "red"
    elif change == "policy":
        document["policy"] = "{}"
    elif change == "cut":
        # Between two repositories, so that each one that is there is whole.
        names = list(files)
        last = names.index(f"{ACCOUNT}/us-east-1/shop+cart+blobs/metadata.json")
        files = {name: files[name] for name in names[:last]}
    elif change == "first":
        del files["metadata.json"]
    else:
        files = {}
    if files:
        files[repository] = json.dumps(document).encode()
    done = imported(write_tar(tmp_path / "x.tar", files), tmp_path / "data")
    assert done.status == 1
    assert problem in done.err
    assert "Traceback" not in done.err
    assert run("check", "--data-dir", tmp_path / "data").status == 0


def test_damaged_bytes_are_not_exported(original: Path, tmp_path: Path) -> None:
    shutil.copytree(original / "data", tmp_path / "data")
    digest = hashlib.sha256(b"layer seed").hexdigest()
    (blob,) = (tmp_path / "data" / "blobs" / "sha256" / digest[:2]).glob(f"{digest}*")
    blob.write_bytes(b"LAYER seed")
    done = run("export", tmp_path / "x.tar", "--data-dir", tmp_path / "data")
    assert (done.status, "has other bytes; run check" in done.err) == (1, True)
    blob.unlink()
    done = run("export", tmp_path / "x.tar", "--data-dir", tmp_path / "data")
    assert (done.status, "is missing" in done.err) == (1, True)
    assert list(tmp_path.iterdir()) == [tmp_path / "data"]


def test_nothing_is_made_where_there_is_no_registry(tmp_path: Path) -> None:
    for command in (["export", tmp_path / "x.tar"], ["check"], ["gc"]):
        done = run(*command, "--data-dir", tmp_path / "none")
        assert done.status == 1
        assert done.err == (
            f"ecr-emulator: there is no registry in the data folder {tmp_path / 'none'}; name another with "
            "--data-dir\n"
        )
    assert list(tmp_path.iterdir()) == []


def test_a_tar_of_large_files_is_one_that_tarfile_reads() -> None:
    import asyncio

    written = io.BytesIO()

    async def write(content: bytes) -> None:
        written.write(content)

    async def scenario() -> None:
        tar = TarWriter(write)
        for size in (0, 1, 511, 512, 513, 20_000):
            await tar.add(f"{'long/' * 40}{size}", bytes([size % 251]) * size)
        await tar.link("blobs", "../" * 60)
        await tar.end()

    asyncio.run(scenario())
    with tarfile.open(fileobj=io.BytesIO(written.getvalue())) as tar:
        read = {entry.name: entry for entry in tar}
        assert read["blobs"].linkname == "../" * 60
        for size in (0, 1, 511, 512, 513, 20_000):
            content = tar.extractfile(read[f"{'long/' * 40}{size}"])
            assert content is not None
            assert content.read() == bytes([size % 251]) * size
