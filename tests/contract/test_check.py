"""``check`` finds every kind of damage, and none in a store that is being worked on."""

import hashlib
import json
import shutil
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.contract.conftest import connect, put_image, upload_layer
from tests.contract.stores import ACCOUNT, run, serving
from tests.stores import LocalStores, ScaledStores

LAYER = hashlib.sha256(b"layer seed").hexdigest()
CART = f"{ACCOUNT}/us-east-1/shop/cart"
# The image of shop/cart that has the tag v2, and its index.
IMAGE = "(SELECT image_id FROM tags WHERE name = 'v2' ORDER BY repository_id LIMIT 1)"
INDEX = "(SELECT image_id FROM tags WHERE name = 'v1')"


@pytest.fixture
def data(filled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(filled, tmp_path / "data"))


def change(data: Path, sql: str, *values: object) -> None:
    """Change rows as no server does."""
    with sqlite3.connect(data / "metadata.sqlite") as database:
        assert database.execute(sql, values).rowcount > 0
    database.close()


def layer_file(data: Path) -> Path:
    (file,) = (data / "blobs" / "sha256" / LAYER[:2]).glob(f"{LAYER}*")
    return file


@pytest.mark.local
def test_a_whole_store_has_no_damage(data: Path) -> None:
    done = run("check", "--data-dir", data)
    assert (done.status, done.out) == (0, "4 repositories, 8 images, 6 blobs (75 bytes): no damage\n")
    report = json.loads(run("check", "--fast", "--json", "--data-dir", data).out)
    assert report == {
        "checked": {"repositories": 4, "images": 8, "blobs": 6, "bytes": 75},
        "damage": 0,
        "findings": [],
    }


FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (Path.unlink, "its bytes are missing"),
    "flipped": (lambda file: file.write_bytes(b"layer sEed"), "its bytes have the digest sha256:"),
    "cut": (lambda file: file.write_bytes(b"layer"), "it has 5 bytes instead of 10"),
}


@pytest.mark.local
@pytest.mark.parametrize("kind", FILES)
def test_damage_to_blobs_is_found(data: Path, kind: str) -> None:
    damage, problem = FILES[kind]
    damage(layer_file(data))
    done = run("check", "--data-dir", data)
    assert done.status == 1
    finding, summary = done.out.splitlines()
    assert finding.startswith(f"damage: blob sha256:{LAYER}: {problem}")
    assert finding.endswith(f"(used by {CART}, {CART}/blobs, 444455556666/eu-west-1/shop/cart)")
    assert summary.endswith("1 damaged")
    # Only reading it tells of a bit that flipped.
    assert run("check", "--fast", "--data-dir", data).status == (0 if kind == "flipped" else 1)


ROWS = {
    f"UPDATE manifests SET content = CAST(content || ' ' AS BLOB) WHERE image_id = {IMAGE}": (
        "the manifest has the digest"
    ),
    f"DELETE FROM manifests WHERE image_id = {IMAGE}": "it has no manifest",
    f"UPDATE images SET media_type = 'text/plain' WHERE id = {IMAGE}": "the manifest is none",
    f"UPDATE images SET artifact_type = 'x', manifest_size = 1 WHERE id = {IMAGE}": (
        "the manifest has another artifact_type, manifest_size"
    ),
    f"UPDATE images SET size = 1 WHERE id = {IMAGE}": "its size is 21, and noted as 1",
    f"UPDATE images SET size = 1 WHERE id = {INDEX}": "its size is 27, and noted as 1",
    f"DELETE FROM index_children WHERE image_id = {INDEX}": "the manifest lists other images",
    f"UPDATE index_children SET repository_id = 9 WHERE image_id = {INDEX}": "manifest lists other images",
    f"UPDATE layers SET image_count = 9 WHERE digest = 'sha256:{LAYER}' AND repository_id = 1": (
        "images name the layer, 2 of them active, and it counts 9, 2 of them active"
    ),
    f"UPDATE layers SET active_image_count = 1 WHERE digest = 'sha256:{LAYER}' AND repository_id = 1": (
        "images name the layer, 2 of them active, and it counts 2, 1 of them active"
    ),
    f"DELETE FROM layers WHERE digest = 'sha256:{LAYER}' AND repository_id = 1": (
        f"the layer sha256:{LAYER} is missing"
    ),
    f"DELETE FROM images WHERE digest = (SELECT digest FROM index_children WHERE image_id = {INDEX})": (
        "which it lists, is missing"
    ),
    "UPDATE repositories SET image_count = 7 WHERE id = 1": "it has 6 images, and counts 7",
    f"UPDATE tags SET repository_id = 2 WHERE image_id = {INDEX}": "the tag's image is another repository's",
    "UPDATE layers SET blob_id = blob_id % 6 + 1 WHERE repository_id = 2": (
        "the layer's blob has another digest"
    ),
    "INSERT INTO tags VALUES (1, 'lost', 99)": (
        "table tags: repository_id 1, name lost: the row of images is missing"
    ),
    "DELETE FROM repositories WHERE id = 1": "the row of repositories is missing",
    f"DELETE FROM blobs WHERE digest = 'sha256:{LAYER}'": "the row of blobs is missing",
}


@pytest.mark.local
@pytest.mark.parametrize("sql", ROWS)
def test_damage_to_rows_is_found(data: Path, sql: str) -> None:
    change(data, sql)
    done = run("check", "--json", "--data-dir", data)
    assert done.status == 1
    report = json.loads(done.out)
    problems = [f"{finding['subject']}: {finding['problem']}" for finding in report["findings"]]
    assert any(ROWS[sql] in problem for problem in problems), problems
    assert report["damage"] >= 1


@pytest.mark.local
def test_damage_to_the_database_is_found(data: Path) -> None:
    file = data / "metadata.sqlite"
    with sqlite3.connect(file) as database:
        (page,) = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'images'").fetchone()
        (size,) = database.execute("PRAGMA page_size").fetchone()
    database.close()
    content = bytearray(file.read_bytes())
    content[(page - 1) * size : page * size] = b"\xff" * size
    file.write_bytes(content)
    done = run("check", "--data-dir", data)
    assert (done.status, "damage: metadata: " in done.out) == (1, True), done
    file.write_bytes(b"no database" * 1000)
    done = run("check", "--data-dir", data)
    assert (done.status, done.err) == (
        1,
        f"ecr-emulator: can't use the data folder {data}: file is not a database\n",
    )


@pytest.mark.local
def test_what_may_be_incomplete_is_no_damage(data: Path) -> None:
    absent = "UPDATE layers SET blob_id = NULL, size = NULL"
    change(data, f"{absent} WHERE digest = 'sha256:{LAYER}' AND repository_id = 1")
    done = run("check", "--layer-check", "off", "--data-dir", data)
    assert (done.status, done.out.startswith(f"note: {CART}@sha256:")) == (0, True)
    # Pulling through brings layers after images.
    change(data, "UPDATE pull_through_rules SET prefix = 'shop'")
    assert run("check", "--data-dir", data).status == 0


@pytest.mark.local
def test_garbage_is_no_damage(data: Path) -> None:
    stray = data / "blobs" / "sha256" / "ab" / f"ab{'0' * 62}.1-{'0' * 16}"
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"stray")
    done = run("check", "--data-dir", data)
    assert done.status == 0
    assert "note: blobs: 1 without a row, which are garbage" in done.out
    found = json.loads(run("gc", "--dry-run", "--json", "--data-dir", data).out)
    assert found == {"uploads": 0, "layers": 0, "blobs": 1, "bytes": 5}
    assert stray.exists()
    done = run("gc", "--data-dir", data)
    assert done.out == "removed: 0 uploads, 0 layers, 1 blob (5 bytes)\n"
    assert not stray.exists()


def test_garbage_is_collected_once_nobody_has_counted_on_it_for_the_grace(
    tmp_path: Path, backing: LocalStores | ScaledStores
) -> None:
    with serving(tmp_path) as server:
        ecr = connect(server.url)
        ecr.create_repository(repositoryName="app")
        put_image(ecr, "app", "v1")
        upload_layer(ecr, "app", b"unused")
        # Beside the server, by the real clock.
        for flags in (["--dry-run"], []):
            assert run("gc", *flags, *backing.flags(tmp_path)).out.endswith(
                "0 uploads, 0 layers, 0 blobs (0 bytes)\n"
            )
        grace = ("--garbage-grace", "0", *backing.flags(tmp_path))
        assert run("gc", "--dry-run", *grace).out.endswith("1 layer, 1 blob (6 bytes)\n")
        assert run("gc", *grace).out == "removed: 0 uploads, 1 layer, 1 blob (6 bytes)\n"
        assert run("check", *backing.flags(tmp_path)).status == 0
        assert len(ecr.describe_images(repositoryName="app")["imageDetails"]) == 1


def test_a_store_that_is_worked_on_has_no_damage(tmp_path: Path, backing: LocalStores | ScaledStores) -> None:
    """Pushes, deletions and collections between, and in the middle of, what a check looks at."""
    with serving(tmp_path, garbage_grace=0) as server:
        ecr = connect(server.url)
        ecr.create_repository(repositoryName="app")
        stop, rounds = threading.Event(), 0

        def work() -> None:
            nonlocal rounds
            while not stop.is_set():
                # The grace of nothing can take a layer before its image comes.
                try:
                    digest = put_image(ecr, "app", f"v{rounds}", seed=str(rounds % 7))
                    ecr.batch_delete_image(repositoryName="app", imageIds=[{"imageDigest": digest}])
                except ecr.exceptions.LayersNotFoundException:
                    pass
                server.manage("run/garbage", {})
                rounds += 1

        worker = threading.Thread(target=work)
        worker.start()
        try:
            while rounds < 10 and worker.is_alive():
                done = run("check", *backing.flags(tmp_path))
                assert (done.status, "damage:" in done.out) == (0, False), done.out
        finally:
            stop.set()
            worker.join()
        assert rounds >= 10
