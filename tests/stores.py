"""Stores that several servers can share, for the servers of tests that know nothing of them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import TYPE_CHECKING

from ecr_emulator.server import RunningServer, running
from ecr_emulator.settings import MEMORY, Settings

if TYPE_CHECKING:
    from tests.postgresql import Postgres


class ScaledStores:
    """A database for each data folder."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres
        self._databases: dict[str, str] = {}

    @contextlib.asynccontextmanager
    async def running(self, settings: Settings) -> AsyncIterator[RunningServer]:
        """Serve as ``server.running`` does; a data folder that is used again has its database."""
        if settings.metadata_url:
            async with running(settings) as server:
                yield server
            return
        url = self._databases.get(settings.data_dir) or self._postgres.new_database()
        if settings.data_dir != MEMORY:
            self._databases[settings.data_dir] = url
        async with running(replace(settings, metadata_url=url)) as server:
            yield server
        if settings.data_dir == MEMORY:
            self._postgres.drop_database(url)
