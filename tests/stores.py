"""Stores that several servers can share, for the servers of tests that know nothing of them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ecr_emulator.server import RunningServer, running
from ecr_emulator.settings import MEMORY, Settings
from tests.serving import CREDENTIALS

if TYPE_CHECKING:
    from tests.postgresql import Postgres
    from tests.s3 import S3Service


@dataclass(frozen=True)
class Place:
    """A database, and where the blobs are that it knows."""

    metadata_url: str
    blobs_url: str

    @property
    def environment(self) -> dict[str, str]:
        """The variables that lead a process here."""
        return {
            "ECR_EMULATOR_METADATA_URL": self.metadata_url,
            "ECR_EMULATOR_BLOBS_URL": self.blobs_url,
            **CREDENTIALS,
        }

    def within(self, settings: Settings) -> Settings:
        """Return settings with which a server has its state here."""
        return replace(settings, metadata_url=self.metadata_url, blobs_url=self.blobs_url)


class ScaledStores:
    """A database and a prefix of a bucket for each data folder."""

    def __init__(self, postgres: Postgres, s3: S3Service) -> None:
        self._postgres = postgres
        self._s3 = s3
        self._places: dict[str, Place] = {}

    def new_place(self) -> Place:
        """Make an empty one."""
        # Not every client of the tests follows a redirect.
        return Place(self._postgres.new_database(), self._s3.new_url("&redirect=off"))

    def drop(self, place: Place) -> None:
        """Remove a database. Blobs go with their service."""
        self._postgres.drop_database(place.metadata_url)

    @contextlib.asynccontextmanager
    async def running(self, settings: Settings) -> AsyncIterator[RunningServer]:
        """Serve as ``server.running`` does; a data folder that is used again has its place."""
        if settings.metadata_url or settings.blobs_url:
            async with running(settings) as server:
                yield server
            return
        place = self._places.get(settings.data_dir) or self.new_place()
        if settings.data_dir != MEMORY:
            self._places[settings.data_dir] = place
        async with running(place.within(settings)) as server:
            yield server
        if settings.data_dir == MEMORY:
            self.drop(place)
