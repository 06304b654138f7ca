"""Layers count the images that name them, whatever happens to these."""

import contextlib
import json
import sqlite3
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecr_emulator.blobs.base import digest_of
from ecr_emulator.core import garbage, images, integrity, manifest, repositories
from ecr_emulator.core.call import Call, unattended
from ecr_emulator.core.errors import EcrError
from ecr_emulator.core.registry import Registry
from ecr_emulator.metadata.layers import Layer
from ecr_emulator.metadata.repositories import Repository
from ecr_emulator.metadata.sqlite import SqliteDatabase, migrate
from ecr_emulator.metadata.store import Transaction

NAMES = st.integers(0, 5)
CALL = unattended(Registry("000000000000", "us-east-1"), 1000.0)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), NAMES, st.sets(NAMES, min_size=1, max_size=4)),
        st.tuples(st.sampled_from(["delete", "archive", "restore", "upload"]), NAMES, st.just(set())),
        st.tuples(st.just("collect"), st.just(0), st.just(set())),
    ),
    max_size=25,
)


def digest(name: int) -> str:
    return digest_of(b"layer %d" % name)


def image_of(name: int, layers: set[int]) -> bytes:
    def descriptor(digest: str) -> dict[str, object]:
        return {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": 1}

    document = {
        "schemaVersion": 2,
        "mediaType": manifest.OCI_MANIFEST,
        "config": descriptor(digest(0)),
        "layers": [descriptor(digest(layer)) for layer in sorted(layers)],
        "annotations": {"name": str(name)},
    }
    return json.dumps(document).encode()


@contextlib.contextmanager
def new_repository() -> Iterator[tuple[Transaction, Repository]]:
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        migrate(connection)
        tx = Transaction(SqliteDatabase(connection))
        yield tx, repositories.create(tx, CALL, "app")


def do(tx: Transaction, call: Call, repository: Repository, step: str, name: int, layers: set[int]) -> None:
    tagged = tx.images.by_tag(repository.id, str(name))
    if step == "put":
        parsed = manifest.parse(image_of(name, layers))
        images.put(tx, call, "app", parsed, str(name), check_references=False)
    elif step == "upload":
        blob = tx.blobs.get(digest(name), "")
        blob_id = blob.id if blob else tx.blobs.insert(digest(name), "", f"name {name}", 7)
        tx.layers.insert(repository.id, digest(name), blob_id, 0.0)
    elif step == "collect":
        unused = [layer_id for layer_id, is_unused in garbage._scan_layers(tx, 1.0, 0) if is_unused]
        tx.layers.delete_unused(unused, 1.0)
    elif tagged is not None and step == "delete":
        images.remove(tx, call, repository, tagged)
    elif tagged is not None and step == "archive" and tagged.status == "ACTIVE":
        images.archive(tx, tagged, call.now)
    elif tagged is not None and step == "restore" and tagged.status == "ARCHIVED":
        images.restore(tx, tagged, call.now)


@given(steps=STEPS)
def test_what_is_counted_is_what_manifests_name(steps: list[tuple[str, int, set[int]]]) -> None:
    with new_repository() as (tx, repository):
        for step in steps:
            with contextlib.suppress(EcrError):
                do(tx, CALL, repository, *step)
        assert integrity._check_counts(tx, repository) == []
        # What an image names is never garbage, and what has no blob is only noted while an image names it.
        noted = tx.layers.counts(repository.id)
        present = tx.layers.present(repository.id, [each.digest for each in noted])
        assert all(each.image_count for each in noted if each.digest not in present)
        assert {layer.digest for layer in tx.layers.used(repository.id)} == {
            each.digest for each in noted if each.image_count and each.digest in present
        }


@pytest.mark.parametrize("is_uploaded_first", [True, False])
def test_a_layer_that_only_archived_images_name_is_archived(is_uploaded_first: bool) -> None:
    def layer(tx: Transaction) -> Layer | None:
        return tx.layers.get(repository.id, digest(1))

    with new_repository() as (tx, repository):
        upload = ("upload", 1, set[int]())
        steps = [("put", 1, {1, 2}), ("put", 2, {1})]
        for step in [upload, *steps] if is_uploaded_first else [*steps, upload]:
            do(tx, CALL, repository, *step)
        seen = []
        for step in ("archive", 1), ("archive", 2), ("restore", 1), ("delete", 1), ("delete", 2):
            do(tx, CALL, repository, *step, set())
            found = layer(tx)
            assert found is not None
            seen.append((found.is_archived, found.image_count))
        assert seen == [(False, 2), (True, 2), (False, 2), (True, 1), (False, 0)]
