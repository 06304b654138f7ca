"""Who writes to SQLite: the event loop what is brief, the writer's thread all else, and every commit."""

import asyncio
import functools
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ecr_emulator.metadata.sqlite import SqliteMetadata
from ecr_emulator.metadata.store import Transaction

Write = Callable[..., Awaitable[Any]]


def on_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Make a coroutine a test."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[SqliteMetadata]:
    store = SqliteMetadata(folder / "metadata.sqlite", durable=False)
    try:
        yield store
    finally:
        await store.close()


def put(tx: Transaction, name: str) -> int:
    """Write a row, and return which thread does."""
    tx.server_values.put(name, "value")
    return threading.get_ident()


def fail(tx: Transaction, name: str) -> None:
    tx.server_values.put(name, "value")
    raise ValueError(name)


def names(tx: Transaction) -> set[str]:
    rows = tx.server_values._database.all("SELECT name FROM server_values")
    return {row["name"] for row in rows}


@on_a_loop
async def test_what_is_brief_is_done_on_the_event_loop(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        here = threading.get_ident()
        assert await store.write_briefly(put, "a") == here
        assert await store.write_lazily(put, "b") != here
        assert await store.write(put, "c") != here
        assert await store.read(names) == {"a", "b", "c"}


@pytest.mark.parametrize("number", [1, 2, 200])
@on_a_loop
async def test_what_fails_is_undone_alone(tmp_path: Path, number: int) -> None:
    async with opened(tmp_path) as store:
        writes: list[Awaitable[Any]] = []
        for each in range(number):
            writes += [store.write_briefly(fail, f"bad {each}"), store.write_briefly(put, f"good {each}")]
        outcomes = await asyncio.gather(*writes, return_exceptions=True)
        assert [str(each) for each in outcomes[::2]] == [f"bad {each}" for each in range(number)]
        assert await store.read(names) == {f"good {each}" for each in range(number)}


@on_a_loop
async def test_one_that_fails_alone_leaves_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        with pytest.raises(ValueError, match="bad"):
            await store.write_briefly(fail, "bad")
        await store.write_briefly(put, "good")
        assert await store.read(names) == {"good"}


@on_a_loop
async def test_what_takes_long_does_not_hold_up_the_event_loop(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        begun, go_on = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()

        def long(tx: Transaction) -> int:
            loop.call_soon_threadsafe(begun.set)
            assert go_on.wait(10)
            return put(tx, "long")

        lasting = asyncio.create_task(store.write(long))
        await begun.wait()
        brief = [asyncio.create_task(store.write_briefly(put, str(number))) for number in range(3)]
        # The event loop goes on, and they wait for the transaction that is open.
        for _ in range(10):
            await asyncio.sleep(0)
        assert not any(task.done() for task in brief)
        go_on.set()
        thread = await lasting
        assert await asyncio.gather(*brief) == [thread] * 3


@on_a_loop
async def test_another_process_that_writes_does_not_hold_up_the_event_loop(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        other = sqlite3.connect(tmp_path / "metadata.sqlite", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        brief = asyncio.create_task(store.write_briefly(put, "a"))
        lasting = asyncio.create_task(store.write(put, "b"))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not brief.done()
        other.execute("COMMIT")
        other.close()
        await asyncio.gather(brief, lasting)
        assert await store.read(names) == {"a", "b"}


@on_a_loop
async def test_brief_writes_do_not_keep_others_waiting(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        is_over = False

        async def go_on() -> None:
            while not is_over:
                await store.write_briefly(put, "brief")

        streams = [asyncio.create_task(go_on()) for _ in range(4)]
        async with asyncio.timeout(10):
            await store.write(put, "other")
            await store.write_lazily(put, "other")
        is_over = True
        await asyncio.gather(*streams)


@on_a_loop
async def test_what_waits_when_the_store_is_closed_is_written(tmp_path: Path) -> None:
    store = SqliteMetadata(tmp_path / "metadata.sqlite")
    tasks = [
        asyncio.create_task(write(put, str(number)))
        for number, write in enumerate([store.write, store.write_briefly, store.write_lazily] * 40)
    ]
    await asyncio.sleep(0)
    await store.close()
    await asyncio.gather(*tasks)
    async with opened(tmp_path) as again:
        assert await again.read(names) == {str(number) for number in range(len(tasks))}


@on_a_loop
async def test_who_has_gone_is_not_written_for(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        gone = asyncio.create_task(store.write_briefly(put, "gone"))
        await asyncio.sleep(0)
        gone.cancel()
        await store.write_briefly(put, "there")
        assert await store.read(names) == {"there"}


@on_a_loop
async def test_a_commit_that_fails_fails_what_was_done_in_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:

        def break_off(tx: Transaction) -> None:
            tx.server_values.put("lost", "value")
            tx.server_values._database.run("PRAGMA defer_foreign_keys = ON")
            # Its repository is missing, which the commit finds.
            tx.server_values._database.run("INSERT INTO tags VALUES (99, 'tag', 99)")

        for write in (store.write_briefly, store.write):
            outcomes = await asyncio.gather(write(break_off), write(put, "with it"), return_exceptions=True)
            assert [type(each) for each in outcomes] == [sqlite3.IntegrityError] * 2
        await store.write_briefly(put, "after it")
        assert await store.read(names) == {"after it"}


def test_several_event_loops_write_to_one_store(tmp_path: Path) -> None:
    store = SqliteMetadata(tmp_path / "metadata.sqlite", durable=False)
    counted = 200

    async def add(who: str) -> None:
        def each(number: int) -> Awaitable[Any]:
            write: Write = (store.write, store.write_briefly, store.write_lazily)[number % 3]
            return write(fail if number % 7 == 0 else put, f"{who} {number}")

        for start in range(0, counted, 20):
            await asyncio.gather(*map(each, range(start, start + 20)), return_exceptions=True)

    threads = [threading.Thread(target=asyncio.run, args=(add(str(who)),)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    async def read_and_close() -> set[str]:
        try:
            return await store.read(names)
        finally:
            await store.close()

    expected = {f"{who} {number}" for who in range(4) for number in range(counted) if number % 7}
    assert asyncio.run(read_and_close()) == expected
