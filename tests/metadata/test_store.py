"""What holds for every metadata store: transactions, the order of text, types, and locks."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from ecr_emulator.metadata.images import ReferrerFilter
from ecr_emulator.metadata.store import Transaction
from tests.metadata.conftest import ACCOUNT, REGION, Store, new_image, new_repository

# In the order of their bytes in UTF-8, which no language has.
TEXTS = ["", "-", "0", "10", "2", "A", "B", "_", "a", "a/b", "a0", "b", "é", "ﬀ", "😀"]


def names(tx: Transaction) -> list[str]:
    return [repository.name for repository in tx.repositories.page(ACCOUNT, REGION, "", 1000)]


def test_what_was_written_is_there_for_who_opens_the_store_next(store: Store) -> None:
    repository = store.write(new_repository)

    async def look_again() -> Any:
        other = store.open()
        try:
            return await other.read(lambda tx: tx.repositories.by_id(repository.id))
        finally:
            await other.close()

    assert store.run(look_again()) == repository


def test_an_exception_undoes_everything_and_is_raised(store: Store) -> None:
    def fail(tx: Transaction) -> None:
        new_image(tx, new_repository(tx))
        raise LookupError("reason")

    with pytest.raises(LookupError, match="reason"):
        store.write(fail)
    assert store.read(names) == []


def test_an_attempt_that_fails_is_undone_alone(store: Store) -> None:
    def add(tx: Transaction, name: str, *, fails: bool) -> None:
        new_repository(tx, name)
        if fails:
            raise LookupError(name)

    def attempts(tx: Transaction) -> list[Exception | None]:
        new_repository(tx, "before")
        outcomes = [tx.attempt(add, name, fails=name in "bc") for name in "abcd"]
        new_repository(tx, "after")
        return outcomes

    outcomes = store.write(attempts)
    assert [type(outcome) for outcome in outcomes] == [type(None), LookupError, LookupError, type(None)]
    assert store.read(names) == ["a", "after", "before", "d"]


def test_a_reader_sees_one_moment_whatever_is_written_meanwhile(store: Store) -> None:
    store.write(new_repository, "first")
    has_begun, go_on = threading.Event(), threading.Event()

    def look_twice(tx: Transaction) -> tuple[list[str], list[str]]:
        before = names(tx)
        has_begun.set()
        assert go_on.wait(30)
        return before, names(tx)

    async def scenario() -> tuple[list[str], list[str]]:
        reading = asyncio.ensure_future(store.metadata.read(look_twice))
        assert await asyncio.to_thread(has_begun.wait, 30)
        await store.metadata.write(new_repository, "second")
        go_on.set()
        return await reading

    assert store.run(scenario()) == (["first"], ["first"])
    assert store.read(names) == ["first", "second"]


def test_no_write_is_lost_to_another(store: Store) -> None:
    def count(tx: Transaction) -> None:
        tx.server_values.put("count", str(int(tx.server_values.get("count") or 0) + 1))

    async def scenario() -> None:
        await asyncio.gather(*(store.metadata.write(count) for _ in range(60)))

    store.run(scenario())
    assert store.read(lambda tx: tx.server_values.get("count")) == "60"


def test_of_many_who_find_a_name_free_one_takes_it(store: Store) -> None:
    def create(tx: Transaction) -> bool:
        if tx.repositories.get(ACCOUNT, REGION, "app") is not None:
            return False
        new_repository(tx)
        return True

    async def scenario() -> list[bool]:
        return await asyncio.gather(*(store.metadata.write(create) for _ in range(20)))

    assert store.run(scenario()).count(True) == 1


def test_what_depends_on_what_others_write_is_as_if_they_took_turns(store: Store) -> None:
    """Each of two puts its value only where the other's is not there: write skew would have both."""

    def put(tx: Transaction, own: str, other: str) -> None:
        if tx.server_values.get(other) is None:
            tx.server_values.put(own, "")

    async def scenario(number: int) -> None:
        one, other = f"one-{number}", f"other-{number}"
        await asyncio.gather(store.metadata.write(put, one, other), store.metadata.write(put, other, one))

    for number in range(20):
        store.run(scenario(number))
        both = [
            store.read(lambda tx, name=f"{name}-{number}": tx.server_values.get(name))
            for name in ("one", "other")
        ]
        assert both.count(None) == 1


def test_an_image_is_not_left_in_a_repository_that_goes_meanwhile(store: Store) -> None:
    async def scenario(number: int) -> None:
        repository = await store.metadata.write(new_repository, f"app{number}")

        def push(tx: Transaction) -> None:
            if tx.repositories.by_id(repository.id) is not None:
                new_image(tx, repository)

        await asyncio.gather(
            store.metadata.write(push), store.metadata.write(lambda tx: tx.repositories.delete(repository.id))
        )
        assert await store.metadata.read(lambda tx: tx.images.exist(repository.id)) is False

    for number in range(10):
        store.run(scenario(number))


def test_ids_are_not_used_again(store: Store) -> None:
    first = store.write(new_repository)
    store.write(lambda tx: tx.repositories.delete(first.id))
    assert store.write(new_repository).id > first.id


def test_names_are_in_the_order_of_their_bytes(store: Store) -> None:
    def write(tx: Transaction) -> None:
        for name in reversed(TEXTS[1:]):
            new_repository(tx, name)
        repository = tx.repositories.get(ACCOUNT, REGION, "a")
        assert repository is not None
        image = new_image(tx, repository)
        for name in reversed(TEXTS):
            tx.tags.put(repository.id, name, image.id)

    store.write(write)
    assert store.read(names) == TEXTS[1:]
    repository = store.read(lambda tx: tx.repositories.get(ACCOUNT, REGION, "a"))
    assert repository is not None
    for position, name in enumerate(TEXTS):
        page = store.read(lambda tx, after=name: tx.tags.page(repository.id, after, 3))
        assert page == TEXTS[position + 1 : position + 4]


@pytest.mark.parametrize(
    "text", ["%", "%s", "%(name)s", ":name", "'", '"', "\\", "\u2028", "[1]", "{}", "null"]
)
def test_text_is_nothing_but_text(store: Store, text: str) -> None:
    repository = store.write(new_repository, text)
    assert store.read(lambda tx: tx.repositories.get(ACCOUNT, REGION, text)) == repository
    # In lists, too.
    images = store.write(lambda tx: new_image(tx, repository, artifact_type=text, digest=text))
    assert store.read(lambda tx: tx.images.present(repository.id, [text, "other"])) == {text: images.size}


def test_text_with_a_nul_does_no_harm(store: Store) -> None:
    repository = store.write(new_repository)
    image = store.write(new_image, repository, artifact_type="a\0b")
    assert store.read(lambda tx: tx.images.by_digest(repository.id, "\0")) is None
    assert store.read(lambda tx: tx.images.present(repository.id, ["\0", image.digest])) == {
        image.digest: 100
    }
    assert image.artifact_type in ("a\0b", "a\N{SYMBOL FOR NULL}b")
    wanted = ReferrerFilter(("\0", "b"))
    assert store.read(lambda tx: tx.images.referrers(repository.id, image.digest, wanted, 0, 9)) == []


def test_numbers_and_truths_have_the_same_types_everywhere(store: Store) -> None:
    largest = (1 << 63) - 1
    repository = store.write(new_repository)
    image = store.write(new_image, repository, size=largest, manifest_size=largest, pushed_at=7)
    found = store.read(lambda tx: tx.repositories.by_id(repository.id))
    assert found is not None
    assert [type(value) for value in (found.id, found.created_at, found.scan_on_push, found.image_count)] == [
        int,
        float,
        bool,
        int,
    ]
    assert (image.size, image.manifest_size, image.pushed_at) == (largest, largest, 7.0)
    assert type(image.pushed_at) is float
    assert type(store.read(lambda tx: tx.images.manifest(image.id))) is bytes
    [history] = store.read(lambda tx: tx.images.histories(repository.id))
    assert history.referenced is False


@pytest.mark.parametrize("moment", [0.1 + 0.2, 1_800_000_000.123456, 253402300799.0, -62135596800.5])
def test_times_keep_every_bit(store: Store, moment: float) -> None:
    repository = store.write(new_repository)
    store.write(lambda tx: tx.repositories.set_lifecycle_policy(repository.id, "{}", moment))
    found = store.read(lambda tx: tx.repositories.by_id(repository.id))
    assert found is not None
    assert found.lifecycle_due_at == moment
    assert store.read(lambda tx: tx.repositories.lifecycle_due(float("inf"))) == [repository.id]
    assert store.read(lambda tx: tx.repositories.lifecycle_due(float("-inf"))) == []


def test_a_reset_takes_what_belongs_to_an_account_and_a_region(store: Store) -> None:
    places = [(account, region) for account in ("1" * 12, "2" * 12) for region in ("eu-west-1", "us-east-1")]

    def fill(tx: Transaction) -> None:
        for account, region in places:
            repository = new_repository(tx, "app", account, region)
            image = new_image(tx, repository)
            tx.tags.put(repository.id, "v1", image.id)
            tx.registry_values.put(account, region, "name", "value")

    def left(tx: Transaction) -> list[tuple[str, str]]:
        with_values = [place for place in places if tx.registry_values.get(*place, "name")]
        assert [place for place in places if tx.repositories.get(*place, "app")] == with_values
        return with_values

    store.write(fill)
    before = places
    for account, region, expected in (
        ("1" * 12, "us-east-1", [places[0], *places[2:]]),
        ("1" * 12, None, places[2:]),
        (None, "us-east-1", [places[2]]),
        (None, None, []),
    ):
        assert store.read(left) == before
        removed = store.write(lambda tx, a=account, r=region: tx.reset(a, r))
        assert store.read(left) == expected
        assert removed == len(before) - len(expected)
        before = expected


def test_a_lock_keeps_other_servers_out_until_it_is_let_go(store: Store) -> None:
    async def scenario() -> None:
        one, other = store.open_locks(), store.open_locks()
        try:
            async with one.hold("lifecycle") as is_held:
                assert is_held
                async with other.hold("lifecycle") as is_held_too:
                    assert not is_held_too
                # To have tried in vain takes nothing from who has it.
                async with other.hold("lifecycle") as is_held_too, other.hold("scans") as another:
                    assert (is_held_too, another) == (False, True)
            async with other.hold("lifecycle") as is_held:
                assert is_held
        finally:
            await one.close()
            await other.close()

    store.run(scenario())


def test_a_lock_is_let_go_where_its_block_fails_or_is_cancelled(store: Store) -> None:
    async def scenario() -> None:
        one, other = store.open_locks(), store.open_locks()
        try:
            with pytest.raises(LookupError):
                async with one.hold("scans"):
                    raise LookupError
            has_it = asyncio.Event()

            async def work() -> None:
                async with one.hold("scans") as is_held:
                    assert is_held
                    has_it.set()
                    await asyncio.Event().wait()

            task = asyncio.create_task(work())
            await has_it.wait()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            async with other.hold("scans") as is_held:
                assert is_held
        finally:
            await one.close()
            await other.close()

    store.run(scenario())
