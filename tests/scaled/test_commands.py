"""The commands on stores that several servers share: PostgreSQL and S3."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ecr_emulator.settings import Settings
from ecr_emulator.testing import BackgroundServer
from tests.contract import stores
from tests.contract.conftest import connect, put_image, upload_layer
from tests.contract.oci_client import OciClient
from tests.contract.stores import ACCOUNT, OTHER, run
from tests.stores import Place, ScaledStores

ALL = ((ACCOUNT, "us-east-1"), (OTHER, "eu-west-1"), (OTHER, "us-west-2"))
# What the layers of stores.fill begin with.
PLAIN = b"layer "


@dataclass(frozen=True)
class Home:
    """A configuration: a folder, a file with keys or none, and where state is if not in the folder."""

    folder: Path
    keys: Path | None = None
    place: Place | None = None

    @property
    def settings(self) -> dict[str, str]:
        urls = {} if self.place is None else self.place.settings
        keys = {} if self.keys is None else {"encryption_keys": str(self.keys)}
        return {"data_dir": str(self.folder), **urls, **keys}

    @property
    def flags(self) -> list[str]:
        return [
            part for name, value in self.settings.items() for part in (f"--{name.replace('_', '-')}", value)
        ]

    @property
    def file(self) -> Path:
        """The configuration as migrate takes it."""
        file = self.folder.with_suffix(".toml")
        file.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in self.settings.items()))
        return file

    def serving(self, **more: Any) -> BackgroundServer:
        defaults = {"public_endpoint": "registry.example", "engines": "off", "port": 0}
        return BackgroundServer(Settings(**{**defaults, **self.settings, **more}))

    def answers(self) -> dict[str, Any]:
        with self.serving() as server:
            return {f"{account}/{region}": stores.answers(server, account, region) for account, region in ALL}


@pytest.fixture(params=["plain", "encrypted"])
def keys(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    """The keys of all that is encrypted, or none."""
    if request.param == "plain":
        return None
    file = tmp_path / "keys.toml"
    file.write_text(
        "".join(f'"{name}" = "{secrets.token_hex(32)}"\n' for name in ("AES256", "alias/aws/ecr"))
    )
    return file


@pytest.fixture
def place(scaled: ScaledStores) -> Iterator[Place]:
    place = scaled.new_place()
    yield place
    scaled.drop(place)


@pytest.fixture
def home(tmp_path: Path, keys: Path | None, place: Place) -> Home:
    """PostgreSQL and S3, with nothing in them."""
    return Home(tmp_path / "scaled", keys, place)


@pytest.fixture
def filled(home: Home) -> Home:
    """Two registries in PostgreSQL and S3."""
    with home.serving() as server:
        stores.fill(server)
    return home


def test_a_store_moves_from_files_and_back(
    tmp_path: Path, home: Home, keys: Path | None, scaled: ScaledStores
) -> None:
    source, back = Home(tmp_path / "source", keys), Home(tmp_path / "back", keys)
    with source.serving() as server:
        stores.fill(server)
    blobs = 8 if keys else 6
    for one, other in ((source, home), (home, back)):
        done = run("migrate", "--from", one.file, "--to", other.file)
        assert done.status == 0, done.err
        assert f"copied {blobs} of {blobs} blobs" in done.err
        checked = run("check", *other.flags)
        assert (checked.status, checked.out.endswith("no damage\n")) == (0, True), checked.out
    expected = source.answers()
    assert home.answers() == expected
    assert back.answers() == expected
    # What comes next gets the number that it would have had in the source.
    for one in (source, home, back):
        with one.serving() as server:
            connect(server.url, ACCOUNT).create_repository(repositoryName="next")
    assert repository_ids(home) == [1, 2, 3, 4, 5]
    assert home.place is not None
    stored = scaled.contents_of(home.place)
    assert len(stored) == blobs
    assert any(PLAIN in content for content in stored.values()) == (keys is None)


def repository_ids(home: Home) -> list[int]:
    assert home.place is not None
    with psycopg.connect(home.place.metadata_url) as connection:
        return [number for (number,) in connection.execute("SELECT id FROM repositories ORDER BY id")]


def test_a_migration_catches_up_while_servers_go_on(tmp_path: Path, filled: Home) -> None:
    target = Home(tmp_path / "target", filled.keys)
    with filled.serving() as server:
        ecr = connect(server.url, ACCOUNT)
        assert run("migrate", "--from", filled.file, "--to", target.file).status == 0
        put_image(ecr, "empty", "late", seed="late")
        ecr.delete_repository(repositoryName="shop/cart/blobs", force=True)
        assert "the target is not empty" in run("migrate", "--from", filled.file, "--to", target.file).err
        done = run("migrate", "--from", filled.file, "--to", target.file, "--replace")
        assert "copied 2 of" in done.err, done.err
        # Back over what is there, beside the server.
        assert run("check", *filled.flags).status == 0
    assert run("check", *target.flags).status == 0
    assert target.answers() == filled.answers()


def test_an_export_is_plain_and_comes_back(tmp_path: Path, filled: Home, scaled: ScaledStores) -> None:
    tar = tmp_path / "all.tar"
    done = run("export", tar, *filled.flags)
    assert done.status == 0, done.err
    assert b"layer seed" in tar.read_bytes()
    place = scaled.new_place()
    other = Home(tmp_path / "other", filled.keys, place)
    done = run("import", tar, *other.flags)
    assert done.status == 0, done.err
    assert "imported 4 repositories, 8 images" in done.err
    assert run("check", *other.flags).status == 0
    # Asked once: answers are pulls, which are noted.
    expected = filled.answers()
    assert other.answers() == expected
    # Again, with nothing left to do, and beside a server.
    with other.serving():
        assert "0 new blobs" in run("import", tar, *other.flags).err
    # Into files, too.
    local = Home(tmp_path / "local", filled.keys)
    assert run("import", tar, *local.flags).status == 0
    assert local.answers() == expected
    scaled.drop(place)


def test_damage_is_found(filled: Home, scaled: ScaledStores) -> None:
    place = filled.place
    assert place is not None
    done = run("check", *filled.flags)
    assert (done.status, done.out.endswith("no damage\n")) == (0, True), done.out
    name, content = max(scaled.contents_of(place).items())
    scaled.overwrite_in(place, name, content[:-1] + bytes([content[-1] ^ 1]))
    done = run("check", *filled.flags)
    assert (done.status, done.out.count("damage: blob sha256:")) == (1, 1), done.out
    # Only reading it tells of a bit that flipped, but in what is read of a blob that is encrypted.
    assert run("check", "--fast", *filled.flags).status == (0 if filled.keys is None else 1)
    scaled.overwrite_in(place, name, content)
    with psycopg.connect(place.metadata_url) as connection:
        connection.execute("UPDATE repositories SET image_count = 7 WHERE name = 'shop/cart/blobs'")
    assert "and counts 7" in run("check", *filled.flags).out


def test_a_blob_that_is_gone_is_found_and_not_migrated(
    tmp_path: Path, filled: Home, scaled: ScaledStores
) -> None:
    assert filled.place is not None
    scaled.overwrite_in(filled.place, max(scaled.contents_of(filled.place)), None)
    done = run("check", "--fast", *filled.flags)
    assert (done.status, "its bytes are missing" in done.out) == (1, True), done.out
    done = run("migrate", "--from", filled.file, "--to", Home(tmp_path / "target", filled.keys).file)
    assert (done.status, "the source has no bytes of" in done.err) == (1, True), done.err


def test_garbage_is_collected_beside_servers(home: Home, scaled: ScaledStores) -> None:
    assert home.place is not None
    with home.serving() as server:
        ecr = connect(server.url)
        ecr.create_repository(repositoryName="app")
        put_image(ecr, "app", "v1")
        upload_layer(ecr, "app", b"unused")
        for flags in (["--dry-run"], []):
            assert run("gc", *flags, *home.flags).out.endswith("0 uploads, 0 layers, 0 blobs (0 bytes)\n")
        # By the clock of the servers, which is in the database.
        server.advance_clock(86_400)
        assert "1 layer, 1 blob" in run("gc", "--dry-run", *home.flags).out
        assert "removed: 0 uploads, 1 layer, 1 blob" in run("gc", *home.flags).out
        assert run("check", *home.flags).status == 0
        assert len(scaled.contents_of(home.place)) == 2
        assert OciClient(server.address).get("/v2/app/manifests/v1").status == 200


def test_a_seed_file_is_seeded_beside_servers_and_again(tmp_path: Path, home: Home) -> None:
    image = {"tags": ["v1"], "pushed_ago": "90d", "generate": {"layers": [1000]}}
    file = tmp_path / "seed.json"
    file.write_text(json.dumps({"repositories": [{"name": "app", "images": [image]}]}))
    with home.serving() as server:
        for new in (1, 0):
            done = run("seed", file, *home.flags)
            assert done.err == f"seeded 1 repository and 1 image, {new} of them new\n"
        (found,) = connect(server.url).describe_images(repositoryName="app")["imageDetails"]
        assert found["imageTags"] == ["v1"]
    assert run("check", *home.flags).status == 0
