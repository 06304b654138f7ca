"""Tasks: work that a call leaves to an engine, to be done once it is due."""

from __future__ import annotations

import json
from typing import Any

from msgspec import Struct

from ecr_emulator.metadata.database import Database

# Before all times that a clock can show. Who leaves work may have looked at the clock just before it was put
# back, and what would be due by that then would be for a long time to come.
AT_ONCE = -1e12


class Task(Struct, frozen=True):
    """A piece of work; ``due_at`` in seconds since 1970."""

    id: int
    engine: str
    account: str
    region: str
    payload: dict[str, Any]
    due_at: float
    attempts: int


class Tasks:
    """Queries on tasks."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self, engine: str, account: str, region: str, payload: dict[str, Any], due_at: float = AT_ONCE
    ) -> None:
        """Leave work to an engine, to be done at once unless it is due at a time."""
        self._database.run(
            "INSERT INTO tasks (engine, account, region, payload, due_at, attempts)"
            " VALUES (:engine, :account, :region, :payload, :due_at, 0)",
            engine=engine,
            account=account,
            region=region,
            payload=json.dumps(payload),
            due_at=due_at,
        )

    def due(self, engine: str, now: float, limit: int) -> list[Task]:
        """Return at most ``limit`` tasks of an engine that are due, the longest due first."""
        rows = self._database.all(
            "SELECT * FROM tasks WHERE engine = :engine AND due_at <= :now ORDER BY due_at, id LIMIT :limit",
            engine=engine,
            now=now,
            limit=limit,
        )
        return [Task(**{**dict(row), "payload": json.loads(row["payload"])}) for row in rows]

    def count_due(self, now: float) -> dict[str, int]:
        """Return how many tasks are due, by engine."""
        rows = self._database.all(
            "SELECT engine, count(*) AS tasks FROM tasks WHERE due_at <= :now GROUP BY engine", now=now
        )
        return {row["engine"]: row["tasks"] for row in rows}

    def note(self, task_id: int, payload: dict[str, Any]) -> bool:
        """Write down how far a task has come; false where another server has done it meanwhile."""
        changed = self._database.run(
            "UPDATE tasks SET payload = :payload WHERE id = :id", id=task_id, payload=json.dumps(payload)
        )
        return changed == 1

    def postpone(self, task: Task, due_at: float) -> None:
        """Put a task off, as one that failed is."""
        self._database.run(
            "UPDATE tasks SET due_at = :due_at, attempts = attempts + 1 WHERE id = :id",
            id=task.id,
            due_at=due_at,
        )

    def bring_forward(self, seconds: float) -> None:
        """Make all tasks due earlier, as the clock was put back."""
        self._database.run("UPDATE tasks SET due_at = due_at - :seconds", seconds=seconds)

    def delete(self, task_id: int) -> bool:
        """Remove a task, which is done or given up; false where another server has done it meanwhile."""
        return self._database.run("DELETE FROM tasks WHERE id = :id", id=task_id) == 1
