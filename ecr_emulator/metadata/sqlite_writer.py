"""The connection to SQLite that writes: transactions of those who write at the same time share a commit."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from msgspec import Struct

from ecr_emulator.metadata.store import Transaction

T = TypeVar("T")

# Writers that wait share one commit, and so one fsync.
LARGEST_BATCH = 64
# Milliseconds that the writer waits for another process that writes.
PATIENCE = 30_000


class _Job(Struct, frozen=True):
    """What is to be done in a transaction."""

    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    function: Callable[[Transaction], Any]
    is_durable: bool
    """Whether it has to be on the disk before it is acknowledged."""


_Outcome = tuple[asyncio.Future[Any], Any, BaseException | None]


class _Commit(Struct, frozen=True):
    """What was done on the event loop, and is to be committed."""

    outcomes: list[_Outcome]


class SqliteWriter:
    """The connection that writes. Its thread commits, so that nobody else waits for the disk.

    Functions that may take long run in that thread; those that are brief on the event loop, since two threads
    would hand the interpreter's lock to and fro with every statement. Who has the turn has the connection.
    The turn goes from the event loop to the thread with what is to be committed, so that the thread never
    waits for it: where it is taken, a commit is on its way.
    """

    def __init__(self, connection: sqlite3.Connection, transaction: Transaction, *, durable: bool) -> None:
        self._connection = connection
        self._transaction = transaction
        self._durable = durable
        self._mode: tuple[str, int] | None = None
        self._turn = threading.Lock()
        self._jobs: queue.SimpleQueue[_Job | _Commit | None] = queue.SimpleQueue()
        # The event loop's own: that of the first who wrote here, what waits for it, whether it is at work.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: list[_Job] = []
        self._is_flushing = False
        self._thread = threading.Thread(target=self._run, name="metadata-writer")
        self._thread.start()

    async def write(self, function: Callable[[Transaction], T], *, is_durable: bool) -> T:
        """Run a function in the thread, and commit it."""
        job = self._job(function, is_durable=is_durable)
        self._jobs.put(job)
        result: T = await job.future
        return result

    async def write_here(self, function: Callable[[Transaction], T]) -> T:
        """Run a function on the event loop, together with others that come now, and commit it durably."""
        job = self._job(function, is_durable=True)
        self._loop = self._loop or job.loop
        if job.loop is not self._loop:
            self._jobs.put(job)
        else:
            self._waiting.append(job)
            if not self._is_flushing:
                self._is_flushing = True
                job.loop.call_soon(self._flush)
        result: T = await job.future
        return result

    def _job(self, function: Callable[[Transaction], Any], *, is_durable: bool) -> _Job:
        loop = asyncio.get_running_loop()
        return _Job(loop, loop.create_future(), function, is_durable)

    async def close(self) -> None:
        """Finish what was begun, and close the connection."""
        self._hand_over()
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    def _hand_over(self) -> None:
        for job in self._waiting:
            self._jobs.put(job)
        self._waiting.clear()

    def _flush(self) -> None:
        """Do what waits, on the event loop. The thread commits it, and then there is the next flush."""
        self._waiting = [job for job in self._waiting if not job.future.cancelled()]
        self._is_flushing = bool(self._waiting) and self._turn.acquire(blocking=False)
        if not self._is_flushing:
            # The thread is at something that may take long, and does this after it.
            self._hand_over()
            return
        outcomes: list[_Outcome] = []
        try:
            self._begin(is_durable=True, patience=0)
        except Exception:
            # Another process is writing. The thread can wait for it, and tell who waits of what else it is.
            self._hand_over()
        else:
            batch, self._waiting = self._waiting[:LARGEST_BATCH], self._waiting[LARGEST_BATCH:]
            outcomes = self._perform(batch)
        self._jobs.put(_Commit(outcomes))

    def _committed(self, outcomes: Sequence[_Outcome]) -> None:
        _settle(outcomes)
        self._flush()

    def _run(self) -> None:
        pending: list[_Job] = []
        is_stopping = is_idle = False
        while pending or not is_stopping:
            items = [self._jobs.get()] if is_idle else []
            while not self._jobs.empty():
                items.append(self._jobs.get())
            is_stopping = is_stopping or None in items
            pending += [item for item in items if isinstance(item, _Job)]
            pending = [job for job in pending if not job.future.cancelled()]
            commit = next((item for item in items if isinstance(item, _Commit)), None)
            if commit is not None:
                outcomes = self._commit(commit.outcomes)
                if not pending:
                    self._turn.release()
                _tell(self._loop, self._committed, outcomes)
            is_idle = not pending or not (commit is not None or self._turn.acquire(blocking=False))
            if not is_idle:
                # The turn is given back before who waits is told, as they may write again at once.
                batch, pending = _next_batch(pending)
                outcomes = self._work_off(batch)
                self._turn.release()
                for loop in {job.loop for job in batch}:
                    of_loop = zip(batch, outcomes, strict=True)
                    _tell(loop, _settle, [outcome for job, outcome in of_loop if job.loop is loop])
        self._connection.close()

    def _work_off(self, batch: Sequence[_Job]) -> list[_Outcome]:
        """Do what is left to the thread, in one commit."""
        try:
            self._begin(is_durable=batch[0].is_durable, patience=PATIENCE)
        except sqlite3.Error as error:
            return [_failed(job.future, error) for job in batch]
        return self._commit(self._perform(batch))

    def _begin(self, *, is_durable: bool, patience: int) -> None:
        """Begin a transaction; ``patience`` in milliseconds. Raises sqlite3.OperationalError after it."""
        synchronous = ("FULL" if is_durable else "NORMAL") if self._durable else "OFF"
        if self._mode != (synchronous, patience):
            self._connection.execute(f"PRAGMA synchronous = {synchronous}")
            self._connection.execute(f"PRAGMA busy_timeout = {patience}")
            self._mode = synchronous, patience
        self._connection.execute("BEGIN IMMEDIATE")

    def _perform(self, batch: Sequence[_Job]) -> list[_Outcome]:
        """Run jobs one after the other in the transaction; each is undone alone where it fails."""
        try:
            if len(batch) > 1:
                return [_attempt(self._connection, self._transaction, job) for job in batch]
            return [(job.future, job.function(self._transaction), None) for job in batch]
        except BaseException as error:
            self._undo()
            return [_failed(job.future, error) for job in batch]

    def _commit(self, outcomes: list[_Outcome]) -> list[_Outcome]:
        """Commit what was done, if anything was, and return what became of it."""
        try:
            if self._connection.in_transaction:
                self._connection.execute("COMMIT")
        except BaseException as error:
            self._undo()
            return [_failed(future, error) for future, _, _ in outcomes]
        return outcomes

    def _undo(self) -> None:
        # SQLite ends a transaction itself where the disk fails.
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")


def _next_batch(pending: Sequence[_Job]) -> tuple[list[_Job], list[_Job]]:
    """Return what is done in one commit, and what is left. What need not wait for the disk comes first."""
    is_durable = all(job.is_durable for job in pending)
    alike = [job for job in pending if job.is_durable == is_durable]
    others = [job for job in pending if job.is_durable != is_durable]
    return alike[:LARGEST_BATCH], alike[LARGEST_BATCH:] + others


def _attempt(connection: sqlite3.Connection, transaction: Transaction, job: _Job) -> _Outcome:
    """Run a job as a part of the transaction, and undo that part where it fails."""
    connection.execute("SAVEPOINT job")
    try:
        outcome: _Outcome = (job.future, job.function(transaction), None)
    except BaseException as error:
        connection.execute("ROLLBACK TO job")
        outcome = (job.future, None, error)
    connection.execute("RELEASE job")
    return outcome


def _tell(
    loop: asyncio.AbstractEventLoop | None,
    function: Callable[[Sequence[_Outcome]], None],
    outcomes: Sequence[_Outcome],
) -> None:
    """Wake a loop once for many outcomes."""
    # One that has been closed has nobody left to be told.
    with contextlib.suppress(RuntimeError):
        if loop is not None:
            loop.call_soon_threadsafe(function, outcomes)


def _failed(future: asyncio.Future[Any], error: BaseException) -> _Outcome:
    return future, None, error


def _settle(outcomes: Sequence[_Outcome]) -> None:
    """Tell those who wait what became of their jobs: of a whole batch, the loop being woken once."""
    for future, result, failure in outcomes:
        if future.cancelled():
            continue
        if failure is None:
            future.set_result(result)
        else:
            future.set_exception(failure)
