"""The queries on layers, on every metadata store."""

from __future__ import annotations

from ecr_emulator.metadata.layers import Layer
from ecr_emulator.metadata.store import Transaction
from tests.metadata.conftest import Store, digest, new_image, new_repository


def test_layers_are_found_and_touched(store: Store) -> None:
    repository, other = store.write(new_repository), store.write(new_repository, "other")
    one, two, three = (digest(seed) for seed in (1, 2, 3))

    def fill(tx: Transaction) -> None:
        tx.layers.insert(repository.id, one, 10, 1.5)
        tx.layers.insert(repository.id, two, 20, 1.5)
        tx.layers.insert(repository.id, two, 20, 3.5)
        tx.layers.insert(other.id, one, 10, 1.5)

    store.write(fill)
    assert store.read(lambda tx: tx.layers.get(repository.id, one)) == Layer(one, 10)
    assert store.read(lambda tx: tx.layers.get(repository.id, three)) is None
    assert store.read(lambda tx: tx.layers.present(repository.id, [one, two, three])) == {one: 10, two: 20}
    assert store.read(lambda tx: tx.layers.present(repository.id, [])) == {}
    assert store.read(lambda tx: tx.layers.untouched(repository.id, [one, two], 1.5)) == [one]
    store.write(lambda tx: tx.layers.touch(repository.id, [one, three], 2.5))
    assert store.read(lambda tx: tx.layers.untouched(repository.id, [one, two], 1.5)) == []
    store.write(lambda tx: tx.layers.delete(repository.id, one))
    assert store.read(lambda tx: tx.layers.get(repository.id, one)) is None
    assert store.read(lambda tx: tx.layers.get(other.id, one)) == Layer(one, 10)


def test_layers_that_nobody_uses(store: Store) -> None:
    repository = store.write(new_repository)
    named, fresh, unused, gone = (digest(seed) for seed in "abcd")

    def fill(tx: Transaction) -> None:
        image = new_image(tx, repository)
        tx.images.add_references(image.id, repository.id, "layer", {named: ""})
        for one, touched_at in ((named, 1.0), (fresh, 9.0), (unused, 1.0)):
            tx.layers.insert(repository.id, one, 1, touched_at)

    store.write(fill)
    keys = [(repository.id, one) for one in (named, fresh, unused)]
    scanned = store.read(lambda tx: tx.layers.scan(5.0, (0, ""), 9))
    assert scanned == [(keys[0], False), (keys[1], False), (keys[2], True)]
    assert store.read(lambda tx: tx.layers.scan(5.0, keys[0], 1)) == [(keys[1], False)]
    assert store.read(lambda tx: sorted(tx.layers.unnamed([named, gone, unused]))) == [gone]
    assert store.read(lambda tx: sorted(tx.layers.unnamed([named, gone, unused], 5.0))) == [unused, gone]
    assert store.write(lambda tx: tx.layers.delete_unused(keys, 5.0)) == 1
    assert store.read(lambda tx: tx.layers.present(repository.id, [named, fresh, unused])) == {
        named: 1,
        fresh: 1,
    }
