"""Where the servers of tests have their state: in their data folders, or in what several can share."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
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
    def settings(self) -> dict[str, str]:
        """The settings that lead here."""
        return {"metadata_url": self.metadata_url, "blobs_url": self.blobs_url}

    @property
    def environment(self) -> dict[str, str]:
        """The variables that lead a process here."""
        return {
            **{f"ECR_EMULATOR_{name.upper()}": value for name, value in self.settings.items()},
            **CREDENTIALS,
        }


class LocalStores:
    """The data folders."""

    def new_environment(self) -> dict[str, str]:
        """Return the variables with which a server's process has its state, of which there is none yet."""
        return {}

    def flags(self, data_dir: Path) -> list[str]:
        """Return the flags with which a command finds the state."""
        return ["--data-dir", str(data_dir)]

    def contents(self, data_dir: Path) -> dict[str, bytes]:
        """Return what is stored of blobs and of uploads, by its names."""
        return {
            str(path.relative_to(data_dir)): path.read_bytes()
            for name in ("blobs", "uploads")
            for path in (data_dir / name).rglob("*")
            if path.is_file()
        }

    def overwrite(self, data_dir: Path, name: str, content: bytes) -> None:
        """Store something else by one of these names, as no server does."""
        (data_dir / name).write_bytes(content)


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

    def new_environment(self) -> dict[str, str]:
        """Return the variables with which a server's process has its state, of which there is none yet."""
        return self.new_place().environment

    def drop(self, place: Place) -> None:
        """Remove a database. Blobs go with their service."""
        self._postgres.drop_database(place.metadata_url)

    def flags(self, data_dir: Path) -> list[str]:
        """Return the flags with which a command finds the state that goes with a data folder."""
        settings = self._place_of(str(data_dir)).settings
        urls = [part for name, url in settings.items() for part in (f"--{name.replace('_', '-')}", url)]
        return ["--data-dir", str(data_dir), *urls]

    def contents(self, data_dir: Path) -> dict[str, bytes]:
        """Return what is stored of blobs and of uploads, by its names."""
        return self.contents_of(self._place_of(str(data_dir)))

    def overwrite(self, data_dir: Path, name: str, content: bytes) -> None:
        """Store something else by one of these names, as no server does."""
        self.overwrite_in(self._place_of(str(data_dir)), name, content)

    def contents_of(self, place: Place) -> dict[str, bytes]:
        """Return what ``contents`` does, of a place."""
        return self._s3.objects(place.blobs_url)

    def overwrite_in(self, place: Place, name: str, content: bytes | None) -> None:
        """Store something else in a place, or nothing any more."""
        self._s3.put(place.blobs_url, name, content)

    def _place_of(self, data_dir: str) -> Place:
        if data_dir not in self._places:
            self._places[data_dir] = self.new_place()
        return self._places[data_dir]

    @contextlib.asynccontextmanager
    async def running(self, settings: Settings) -> AsyncIterator[RunningServer]:
        """Serve as ``server.running`` does; a data folder that is used again has its place."""
        if settings.metadata_url or settings.blobs_url:
            async with running(settings) as server:
                yield server
            return
        is_throwaway = settings.data_dir == MEMORY
        place = self.new_place() if is_throwaway else self._place_of(settings.data_dir)
        async with running(replace(settings, **place.settings)) as server:
            yield server
        if is_throwaway:
            self.drop(place)
