"""Which writes share a commit, and what holding metadata means."""

import asyncio
import contextlib
import sqlite3
import threading
from concurrent.futures import Future
from pathlib import Path

import pytest

from ecr_emulator.metadata.sqlite import SqliteMetadata, _batches, _Job
from ecr_emulator.metadata.store import Transaction


@pytest.mark.parametrize(
    ("alone", "sizes"),
    [
        ([], []),
        ([False, False, False], [3]),
        ([True], [1]),
        ([False, True, False, False], [1, 1, 2]),
        ([True, True, False], [1, 1, 1]),
    ],
)
def test_a_job_that_is_to_be_alone_splits_the_batch(alone: list[bool], sizes: list[int]) -> None:
    jobs = [_Job(Future(), lambda _tx: None, is_alone) for is_alone in alone]
    batches = [batch for batch in _batches(jobs) if batch]
    assert [len(batch) for batch in batches] == sizes
    assert [job for batch in batches for job in batch] == jobs
    assert all(len(batch) == 1 for batch in batches if any(job.alone for job in batch))


def test_who_holds_metadata_sees_only_what_is_committed_and_keeps_others_from_writing(tmp_path: Path) -> None:
    path = tmp_path / "metadata.sqlite"
    go = threading.Event()

    def look(tx: Transaction) -> tuple[str | None, list[tuple[str]], str]:
        other = sqlite3.connect(path, timeout=0)
        with contextlib.closing(other):
            committed = other.execute("SELECT value FROM server_values WHERE name = 'name'").fetchall()
            with pytest.raises(sqlite3.OperationalError) as locked:
                other.execute("INSERT INTO server_values VALUES ('other', '')")
        return tx.server_values.get("name"), committed, str(locked.value)

    async def scenario() -> None:
        metadata = SqliteMetadata(path, durable=False)
        # While the first job waits the others queue up behind it, and could share a commit.
        jobs = [
            metadata.write(lambda _tx: go.wait()),
            metadata.write(lambda tx: tx.server_values.put("name", "before")),
            metadata.hold(look),
            metadata.write(lambda tx: tx.server_values.put("name", "after")),
        ]
        waiting = [asyncio.ensure_future(job) for job in jobs]
        await asyncio.sleep(0)
        go.set()
        outcomes = await asyncio.gather(*waiting)
        assert outcomes[2] == ("before", [("before",)], "database is locked")
        assert await metadata.read(lambda tx: tx.server_values.get("name")) == "after"
        await metadata.close()

    asyncio.run(scenario())
