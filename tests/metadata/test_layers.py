"""The queries on layers and blobs, on every metadata store."""

from __future__ import annotations

import asyncio

from msgspec.structs import replace

from ecr_emulator.metadata.blobs import KnownBlob, StoredBlob
from ecr_emulator.metadata.layers import Layer, LayerCount
from ecr_emulator.metadata.store import Transaction
from tests.metadata.conftest import Store, digest, new_repository


def test_layers_are_found_and_touched(store: Store) -> None:
    repository, other = store.write(new_repository), store.write(new_repository, "other")
    one, two, three = (digest(seed) for seed in (1, 2, 3))

    def fill(tx: Transaction) -> list[int]:
        blobs = [
            tx.blobs.insert(layer, "", f"name of {layer}", size) for layer, size in ((one, 10), (two, 20))
        ]
        tx.layers.insert(repository.id, one, blobs[0], 1.5)
        tx.layers.insert(repository.id, two, blobs[1], 1.5)
        tx.layers.insert(repository.id, two, blobs[1], 3.5)
        tx.layers.insert(other.id, one, blobs[0], 1.5)
        return blobs

    expected = Layer(one, 10, store.write(fill)[0], f"name of {one}", "", None, 0, 0)
    assert store.read(lambda tx: tx.layers.get(repository.id, one)) == expected
    assert store.read(lambda tx: tx.layers.among(repository.id, [one, three])) == [expected]
    assert store.read(lambda tx: tx.layers.get(repository.id, three)) is None
    assert store.read(lambda tx: tx.layers.present(repository.id, [one, two, three])) == {one: 10, two: 20}
    assert store.read(lambda tx: tx.layers.present(repository.id, [])) == {}
    assert store.read(lambda tx: tx.layers.untouched(repository.id, [one, two], 1.5)) == [one]
    store.write(lambda tx: tx.layers.touch(repository.id, [one, three], 2.5))
    assert store.read(lambda tx: tx.layers.untouched(repository.id, [one, two], 1.5)) == []
    store.write(lambda tx: tx.layers.delete(repository.id, one))
    assert store.read(lambda tx: tx.layers.get(repository.id, one)) is None
    assert store.read(lambda tx: tx.layers.get(other.id, one)) == expected


def test_layers_that_nobody_uses(store: Store) -> None:
    repository = store.write(new_repository)
    named, fresh, unused = (digest(seed) for seed in "abc")

    def fill(tx: Transaction) -> None:
        tx.layers.name(repository.id, {named: ""})
        for one, touched_at in ((named, 1.0), (fresh, 9.0), (unused, 1.0)):
            tx.layers.insert(repository.id, one, tx.blobs.insert(one, "", one, 1), touched_at)

    store.write(fill)
    scanned = store.read(lambda tx: tx.layers.scan(5.0, 0, 9))
    assert [is_unused for _, is_unused in scanned] == [False, False, True]
    ids = [layer_id for layer_id, _ in scanned]
    assert store.read(lambda tx: tx.layers.scan(5.0, ids[0], 1)) == [(ids[1], False)]
    assert store.write(lambda tx: tx.layers.delete_unused(ids, 5.0)) == 1
    assert store.read(lambda tx: tx.layers.present(repository.id, [named, fresh, unused])) == {
        named: 1,
        fresh: 1,
    }


def test_layers_and_the_blobs_that_they_are_made_of(store: Store) -> None:
    repository, other = store.write(new_repository), store.write(new_repository, "other")
    named, unnamed, wrong = (digest(seed) for seed in "abc")

    def fill(tx: Transaction) -> list[int]:
        blobs = [tx.blobs.insert(one, "key", f"name of {one}", 7) for one in (named, unnamed)]
        tx.layers.insert(repository.id, named, blobs[0], 1.0)
        tx.layers.insert(repository.id, unnamed, blobs[1], 1.0)
        tx.layers.insert(other.id, named, blobs[0], 1.0)
        tx.layers.name(repository.id, {named: "gzip"})
        return blobs

    blobs = store.write(fill)
    used = Layer(named, 7, blobs[0], f"name of {named}", "key", "gzip", 1, 1)
    assert store.read(lambda tx: tx.layers.used(repository.id)) == [used]
    assert store.read(lambda tx: tx.layers.used(other.id)) == []
    assert store.read(lambda tx: tx.layers.repositories_of(blobs[0], 9)) == [repository.id, other.id]
    assert store.read(lambda tx: tx.layers.repositories_of(blobs[0], 1)) == [repository.id]
    assert store.read(lambda tx: tx.layers.mismatched(9)) == []
    for one in (repository, other):
        store.write(lambda tx, one=one: tx.layers.insert(one.id, wrong, blobs[1], 1.0))
    assert store.read(lambda tx: tx.layers.mismatched(9)) == [(repository.id, wrong), (other.id, wrong)]
    assert store.read(lambda tx: tx.layers.mismatched(1)) == [(repository.id, wrong)]


def test_layers_count_the_images_that_name_them(store: Store) -> None:
    repository, other = store.write(new_repository), store.write(new_repository, "other")
    one, two, absent = (digest(seed) for seed in "abc")

    def fill(tx: Transaction) -> None:
        for repository_id in (repository.id, other.id):
            for layer in (one, two):
                blob = tx.blobs.get(layer, "")
                blob_id = blob.id if blob else tx.blobs.insert(layer, "", layer, 7)
                tx.layers.insert(repository_id, layer, blob_id, 1.0)

    def counts() -> list[tuple[str, int, int]]:
        found = store.read(lambda tx: tx.layers.counts(repository.id))
        return [(each.digest, each.image_count, each.active_image_count) for each in found]

    def get(layer: str) -> Layer | None:
        return store.read(lambda tx: tx.layers.get(repository.id, layer))

    store.write(fill)
    sizes = store.write(lambda tx: tx.layers.name(repository.id, {one: "gzip", two: "zstd", absent: "gzip"}))
    assert sizes == {one: 7, two: 7}
    assert store.write(lambda tx: tx.layers.name(repository.id, {one: "tar"})) == {one: 7}
    assert counts() == [(one, 2, 2), (two, 1, 1), (absent, 1, 1)]
    assert store.read(lambda tx: tx.layers.counts(other.id)) == [
        LayerCount(one, 0, 0),
        LayerCount(two, 0, 0),
    ]
    found = get(one)
    assert found is not None
    # What the last one that names it says.
    assert (found.media_type, found.is_archived) == ("tar", False)
    named = [
        store.read(lambda tx, layer=layer: tx.layers.is_named(repository.id, layer))
        for layer in (one, absent)
    ]
    assert named == [True, True]
    assert store.read(lambda tx: tx.layers.is_named(other.id, one)) is False
    # It is known, and not there.
    assert get(absent) is None
    assert store.read(lambda tx: tx.layers.present(repository.id, [one, absent])) == {one: 7}
    assert store.read(lambda tx: tx.layers.untouched(repository.id, [one, absent], 9.0)) == [one]
    store.write(lambda tx: tx.layers.set_active(repository.id, [one, two, absent], is_active=False))
    assert counts() == [(one, 2, 1), (two, 1, 0), (absent, 1, 0)]
    archived = get(two)
    assert archived is not None
    assert archived.is_archived
    store.write(lambda tx: tx.layers.set_active(repository.id, [two], is_active=True))
    store.write(lambda tx: tx.layers.forget(repository.id, [two], was_active=True))
    assert counts() == [(one, 2, 1), (two, 0, 0), (absent, 1, 0)]
    # Nothing is left of one that was never there, and a blob that comes is the named layer's.
    store.write(lambda tx: tx.layers.name(repository.id, {digest("d"): "gzip"}))
    store.write(
        lambda tx: tx.layers.insert(repository.id, digest("d"), tx.blobs.insert(digest("d"), "", "d", 3), 1.0)
    )
    came = get(digest("d"))
    assert came is not None
    assert (came.size, came.media_type, came.image_count) == (3, "gzip", 1)
    store.write(lambda tx: tx.layers.forget(repository.id, [one, absent, digest("d")], was_active=False))
    assert [each[:2] for each in counts()] == [(one, 1), (two, 0), (digest("d"), 0)]


def test_blobs_are_told_apart_by_digest_and_key(store: Store) -> None:
    def fill(tx: Transaction) -> list[int]:
        return [tx.blobs.insert(digest(1), key, f"name {key}", 7) for key in ("", "key")]

    ids = store.write(fill)
    assert store.read(lambda tx: tx.blobs.get(digest(1), "key")) == StoredBlob(ids[1], "name key", 7)
    assert store.read(lambda tx: tx.blobs.get(digest(1), "other")) is None
    assert store.read(lambda tx: tx.blobs.known(["name ", "name key", "name other"])) == {"name ", "name key"}


def test_all_blobs_come_in_pages_and_are_renamed(store: Store) -> None:
    def fill(tx: Transaction) -> list[KnownBlob]:
        return [
            KnownBlob(tx.blobs.insert(digest(n), "key", f"name {n}", n), f"name {n}", n, digest(n), "key")
            for n in range(3)
        ]

    blobs = store.write(fill)
    assert store.read(lambda tx: tx.blobs.page(0, 2)) == blobs[:2]
    assert store.read(lambda tx: tx.blobs.page(blobs[1].id, 2)) == blobs[2:]
    store.write(lambda tx: tx.blobs.rename(blobs[2].id, "other"))
    assert store.read(lambda tx: tx.blobs.page(blobs[1].id, 2)) == [replace(blobs[2], name="other")]


def test_blobs_that_no_layer_has_go(store: Store) -> None:
    repository = store.write(new_repository)

    def fill(tx: Transaction) -> list[StoredBlob]:
        blobs = [StoredBlob(tx.blobs.insert(digest(n), "", str(n), n), str(n), n) for n in range(4)]
        for blob, touched_at in zip(blobs[:2], (1.0, 9.0), strict=True):
            tx.layers.insert(repository.id, digest(blob.size), blob.id, touched_at)
        return blobs

    stale, fresh, *unused = store.write(fill)
    last = unused[-1].id
    assert store.read(lambda tx: tx.blobs.scan_unused(0, 9)) == (unused, last)
    assert store.read(lambda tx: tx.blobs.scan_unused(0, 9, 5.0)) == ([stale, *unused], last)
    assert store.read(lambda tx: tx.blobs.scan_unused(fresh.id, 1)) == (unused[:1], unused[0].id)
    assert store.read(lambda tx: tx.blobs.scan_unused(last, 9)) == ([], None)
    removed = store.write(lambda tx: tx.blobs.delete_unused([stale.id, fresh.id, unused[0].id]))
    assert removed == unused[:1]
    assert store.write(lambda tx: tx.blobs.delete_unused([])) == []
    assert store.read(lambda tx: tx.blobs.scan_unused(0, 9)) == (unused[1:], last)


def test_a_blob_is_not_removed_from_under_a_layer_that_comes_meanwhile(store: Store) -> None:
    repository = store.write(new_repository)

    async def scenario(number: int) -> None:
        one = digest(number)
        await store.metadata.write(lambda tx: tx.blobs.insert(one, "", one, 1))

        def add(tx: Transaction) -> None:
            blob = tx.blobs.get(one, "") or StoredBlob(tx.blobs.insert(one, "", f"again {one}", 1), one, 1)
            tx.layers.insert(repository.id, one, blob.id, 1.0)

        def collect(tx: Transaction) -> None:
            tx.blobs.delete_unused([blob.id for blob in tx.blobs.scan_unused(0, 99)[0]])

        await asyncio.gather(store.metadata.write(add), store.metadata.write(collect))
        assert await store.metadata.read(lambda tx: tx.layers.get(repository.id, one)) is not None

    for number in range(20):
        store.run(scenario(number))
