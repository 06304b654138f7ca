"""``migrate``: the target is what the source was, and a server goes on meanwhile."""

import hashlib
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from ecr_emulator.core import migration
from tests.contract import stores
from tests.contract.conftest import connect, put_image
from tests.contract.stores import ACCOUNT, OTHER, run, serving

ALL = ((ACCOUNT, "us-east-1"), (OTHER, "eu-west-1"), (OTHER, "us-west-2"))


@pytest.fixture
def source(filled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(filled, tmp_path / "source"))


def all_answers(data: Path) -> dict[str, Any]:
    with serving(data) as server:
        return {f"{account}/{region}": stores.answers(server, account, region) for account, region in ALL}


def rows(data: Path) -> dict[str, list[Any]]:
    """All rows of a store, but for the names and numbers of its blobs, which are its own."""
    own = {"blobs": "digest, encryption_key, size", "layers": "repository_id, digest, touched_at"}
    with sqlite3.connect(data / "metadata.sqlite") as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found = {}
        for table in tables:
            columns = own.get(table, "*")
            found[table] = sorted(map(repr, database.execute(f"SELECT {columns} FROM {table}")))
    database.close()
    counted = found["sqlite_sequence"]
    found["sqlite_sequence"] = [row for row in counted if ", 0)" not in row and "'blobs'" not in row]
    return found


def test_a_migrated_store_answers_as_its_source(source: Path, tmp_path: Path) -> None:
    done = run("migrate", "--from", source, "--to", tmp_path / "target")
    assert done.status == 0, done.err
    assert "migrated 4 repositories, 8 images" in done.err
    assert "copied 6 of 6 blobs" in done.err
    assert rows(tmp_path / "target") == rows(source)
    assert run("check", "--data-dir", tmp_path / "target").status == 0
    assert all_answers(tmp_path / "target") == all_answers(source)


def test_a_server_goes_on_and_another_run_catches_up(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    with serving(source, engines="off") as server:
        ecr = connect(server.url, ACCOUNT)
        upload_id = ecr.initiate_layer_upload(repositoryName="empty")["uploadId"]
        assert run("migrate", "--from", source, "--to", target).status == 0
        put_image(ecr, "empty", "late", seed="late")
        ecr.delete_repository(repositoryName="shop/cart/blobs", force=True)
        assert "the target is not empty" in run("migrate", "--from", source, "--to", target).err
        done = run("migrate", "--from", source, "--to", target, "--replace")
        assert "copied 2 of 8 blobs" in done.err, done.err
        # Uploads under way are the source's.
        assert upload_id in "".join(rows(source)["uploads"])
    assert rows(target)["uploads"] == []
    assert rows(target)["images"] == rows(source)["images"]
    assert run("check", "--data-dir", target).status == 0
    with serving(target) as server:
        names = connect(server.url, ACCOUNT).list_images(repositoryName="empty")["imageIds"]
        assert [name["imageTag"] for name in names] == ["late"]


def test_what_is_pushed_while_blobs_are_copied_is_there(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The metadata name blobs that were not there when blobs were copied first, and not others that were."""
    copy_all = migration._copy_all_blobs
    with serving(source, garbage_grace=0) as server:
        ecr = connect(server.url, ACCOUNT)

        async def copy_then_push(*arguments: Any) -> None:
            await copy_all(*arguments)
            put_image(ecr, "empty", "late", seed="late")
            ecr.delete_repository(repositoryName="shop/cart", force=True)
            server.manage("run/garbage", {})

        monkeypatch.setattr(migration, "_copy_all_blobs", copy_then_push)
        done = run("migrate", "--from", source, "--to", tmp_path / "target")
    assert done.status == 0, done.err
    assert rows(tmp_path / "target") == rows(source)
    done = run("check", "--data-dir", tmp_path / "target")
    assert done.out == "3 repositories, 3 images, 4 blobs (42 bytes): no damage\n"
    # Nor are the bytes there that nobody has any more.
    assert len([path for path in (tmp_path / "target" / "blobs").rglob("*") if path.is_file()]) == 4


def test_a_migration_that_was_cut_short_goes_on(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "target"

    def fail(*_arguments: Any) -> None:
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(migration, "_read_rows", fail)
        done = run("migrate", "--from", source, "--to", target)
    assert (done.status, done.err.splitlines()[-1]) == (1, "ecr-emulator: the disk is full")
    # One of those that were copied is damaged since: it has no bytes any more.
    next(path for path in (target / "blobs").rglob("*") if path.is_file()).unlink()
    done = run("migrate", "--from", source, "--to", target)
    assert "copied 1 of 6 blobs" in done.err, done.err
    assert rows(target) == rows(source)
    assert run("check", "--data-dir", target).status == 0


@pytest.mark.parametrize("damage", ["flipped", "missing"])
def test_a_damaged_source_is_not_migrated(source: Path, tmp_path: Path, damage: str) -> None:
    digest = hashlib.sha256(b"layer seed").hexdigest()
    (blob,) = (source / "blobs" / "sha256" / digest[:2]).glob(f"{digest}*")
    if damage == "missing":
        blob.unlink()
    else:
        blob.write_bytes(b"LAYER seed")
    done = run("migrate", "--from", source, "--to", tmp_path / "target")
    assert done.status == 1
    assert f"sha256:{digest}" in done.err
    assert "run check on" in done.err
    assert rows(tmp_path / "target")["repositories"] == []


def test_configurations_are_folders_or_files(source: Path, tmp_path: Path) -> None:
    file = tmp_path / "to.toml"
    file.write_text(f'data_dir = "{tmp_path / "target"}"')
    assert run("migrate", "--from", source, "--to", file).status == 0
    assert rows(tmp_path / "target")["images"] == rows(source)["images"]
    assert "source and target are the same" in run("migrate", "--from", file, "--to", tmp_path / "target").err
    assert "does not exist" in run("migrate", "--from", source, "--to", tmp_path / "none.toml").err
    assert "there is no registry in" in run("migrate", "--from", tmp_path / "none", "--to", file).err
    file.write_text("colour = 'red'")
    assert "unknown settings: colour" in run("migrate", "--from", source, "--to", file).err
