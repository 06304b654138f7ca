"""Events, and the outbox: a row for each event that a sink has not got yet."""

from __future__ import annotations

import itertools
import json
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import orjson
from msgspec import Struct

from ecr_emulator.metadata.database import Database

# Events that can be asked for once no sink waits for them; up to twice as many are stored.
KEPT = 1000
# Events that one statement adds.
_BATCH_SIZE = 100


class EventFilter(Struct, frozen=True):
    """Which events are wanted; None is any. ``since`` in seconds since 1970."""

    account: str | None = None
    region: str | None = None
    detail_type: str | None = None
    repository: str | None = None
    since: float | None = None


class WaitingEvent(Struct, frozen=True):
    """An event that a sink has not got yet, as JSON."""

    id: int
    content: str


class SinkState(Struct, frozen=True):
    """How often in a row a sink has failed, and when it is to be tried again."""

    id: int
    attempts: int
    due_at: float


class Events:
    """Queries on events.

    The column ``repository`` has the names of all repositories that an event is about, and blanks between.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, event: Mapping[str, Any], happened_at: float, *repositories: str) -> None:
        """Add an event about repositories, which waits for each of the sinks."""
        event_id = self._database.insert(
            "id",
            "INSERT INTO events (account, region, detail_type, repository, happened_at, content)"
            " VALUES (:account, :region, :detail_type, :repository, :happened_at, :content)",
            account=event["account"],
            region=event["region"],
            detail_type=event["detail-type"],
            repository=" ".join(repositories),
            happened_at=happened_at,
            content=orjson.dumps(event).decode(),
        )
        self._database.run(
            "INSERT INTO outbox (sink_id, event_id) SELECT id, :event_id FROM event_sinks", event_id=event_id
        )
        if event_id % KEPT == 0:
            self._forget(event_id - KEPT)

    def add_many(self, events: Iterable[Mapping[str, Any]], happened_at: float, repository: str) -> None:
        """Add events about a repository, of one type, as ``add`` does but many with each statement."""
        if self._database.one("SELECT 1 FROM event_sinks LIMIT 1") is None:
            # Those before would not be kept.
            events = deque(events, maxlen=KEPT)
        events = iter(events)
        while batch := list(itertools.islice(events, _BATCH_SIZE)):
            ids = [
                row["id"]
                for row in self._database.all(
                    "INSERT INTO events (account, region, detail_type, repository, happened_at, content)"
                    " SELECT :account, :region, :detail_type, :repository, :happened_at, value"
                    " FROM json_each(:contents) RETURNING id",
                    account=batch[0]["account"],
                    region=batch[0]["region"],
                    detail_type=batch[0]["detail-type"],
                    repository=repository,
                    happened_at=happened_at,
                    contents=orjson.dumps([orjson.dumps(event).decode() for event in batch]).decode(),
                )
            ]
            self._database.run(
                "INSERT INTO outbox (sink_id, event_id) SELECT event_sinks.id, CAST(value AS BIGINT)"
                " FROM event_sinks, json_each(:ids)",
                ids=json.dumps(ids),
            )
            if any(event_id % KEPT == 0 for event_id in ids):
                self._forget(max(ids) - KEPT)

    def _forget(self, last: int) -> None:
        """Remove the events up to an id that nobody waits for."""
        self._database.run(
            "DELETE FROM events WHERE id <= :last"
            " AND NOT EXISTS (SELECT 1 FROM outbox WHERE event_id = events.id)",
            last=last,
        )

    def newest(self, wanted: EventFilter, limit: int) -> list[dict[str, Any]]:
        """Return the newest ``limit`` events that are wanted, in their order."""
        rows = self._database.all(
            "SELECT content FROM events WHERE (account = :account OR :account IS NULL)"
            " AND (region = :region OR :region IS NULL)"
            " AND (detail_type = :detail_type OR :detail_type IS NULL)"
            " AND (replace(' ' || repository || ' ', ' ' || :repository || ' ', '')"
            " <> ' ' || repository || ' ' OR :repository IS NULL)"
            " AND (happened_at >= :since OR :since IS NULL) ORDER BY id DESC LIMIT :limit",
            account=wanted.account,
            region=wanted.region,
            detail_type=wanted.detail_type,
            repository=wanted.repository,
            since=wanted.since,
            limit=limit,
        )
        return [json.loads(row["content"]) for row in reversed(rows)]

    def set_sinks(self, names: Sequence[str]) -> None:
        """Have events wait for these sinks, and for no others any more. All of them are due."""
        self._database.run(
            "DELETE FROM event_sinks WHERE name NOT IN (SELECT value FROM json_each(:names))",
            names=json.dumps(names),
        )
        self._database.run_many(
            "INSERT INTO event_sinks (name) VALUES (:name)"
            " ON CONFLICT (name) DO UPDATE SET attempts = 0, due_at = 0",
            [{"name": name} for name in names],
        )

    def sink(self, name: str) -> SinkState | None:
        """Return how a sink stands."""
        row = self._database.one("SELECT id, attempts, due_at FROM event_sinks WHERE name = :name", name=name)
        return None if row is None else SinkState(**dict(row))

    def waiting(self, sink_id: int, limit: int) -> list[WaitingEvent]:
        """Return at most ``limit`` of the events that a sink has not got, the oldest first."""
        rows = self._database.all(
            "SELECT events.id, content FROM outbox JOIN events ON events.id = outbox.event_id"
            " WHERE sink_id = :sink_id ORDER BY event_id LIMIT :limit",
            sink_id=sink_id,
            limit=limit,
        )
        return [WaitingEvent(row["id"], row["content"]) for row in rows]

    def count_waiting(self) -> dict[str, int]:
        """Return how many events each sink has not got, by its name."""
        rows = self._database.all(
            "SELECT name, count(event_id) AS events FROM event_sinks"
            " LEFT JOIN outbox ON outbox.sink_id = event_sinks.id GROUP BY name"
        )
        return {row["name"]: row["events"] for row in rows}

    def note_delivered(self, sink_id: int, event_ids: Collection[int]) -> None:
        """Remove from the outbox what a sink has got."""
        self._database.run(
            "DELETE FROM outbox WHERE sink_id = :sink_id"
            " AND event_id IN (SELECT CAST(value AS BIGINT) FROM json_each(:event_ids))",
            sink_id=sink_id,
            event_ids=json.dumps(list(event_ids)),
        )
        self._database.run(
            "UPDATE event_sinks SET attempts = 0, due_at = 0 WHERE id = :id AND attempts > 0", id=sink_id
        )

    def postpone(self, sink_id: int, due_at: float) -> None:
        """Put a sink off that has failed."""
        self._database.run(
            "UPDATE event_sinks SET attempts = attempts + 1, due_at = :due_at WHERE id = :id",
            id=sink_id,
            due_at=due_at,
        )

    def give_up(self, sink_id: int, before: float) -> int:
        """Remove from the outbox what a sink has not got since a time; return the number of events."""
        return self._database.run(
            "DELETE FROM outbox WHERE sink_id = :sink_id"
            " AND event_id IN (SELECT id FROM events WHERE happened_at < :before)",
            sink_id=sink_id,
            before=before,
        )
