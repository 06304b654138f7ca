"""Fixtures of the contract suite for metadata, which runs against each implementation of the port."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import pytest

from ecr_emulator.metadata.images import Image
from ecr_emulator.metadata.locks import FileLocks, Locks
from ecr_emulator.metadata.repositories import Repository
from ecr_emulator.metadata.sqlite import SqliteMetadata
from ecr_emulator.metadata.store import MetadataStore, Transaction

P = ParamSpec("P")
T = TypeVar("T")

ACCOUNT, REGION = "000000000000", "us-east-1"
NOW = 1_800_000_000.25


class Store:
    """A metadata store for code without an event loop. All its transactions are committed one by one."""

    def __init__(self, open_metadata: Callable[[], MetadataStore], open_locks: Callable[[], Locks]) -> None:
        self.open = open_metadata
        self.open_locks = open_locks
        self.metadata = open_metadata()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)

    def write(
        self, function: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a function that may write."""
        return self.run(self.metadata.write(function, *args, **kwargs))

    def read(
        self, function: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a function that only reads."""
        return self.run(self.metadata.read(function, *args, **kwargs))

    def close(self) -> None:
        """Close the store and end its thread."""
        self.run(self.metadata.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "store" in metafunc.fixturenames:
        scaled = ["postgresql"] if metafunc.config.getoption("--store") == "scaled" else []
        metafunc.parametrize("store", ["sqlite", *scaled], indirect=True)


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    with contextlib.ExitStack() as stack:
        yield _opened(request, tmp_path, stack)


def _opened(request: pytest.FixtureRequest, tmp_path: Path, stack: contextlib.ExitStack) -> Store:
    if request.param == "sqlite":
        path = tmp_path / "metadata.sqlite"
        store = Store(lambda: SqliteMetadata(path, durable=False), lambda: FileLocks(tmp_path, path.name))
    else:
        from ecr_emulator.metadata.postgresql import PostgresLocks, PostgresMetadata

        postgres = request.getfixturevalue("postgres")
        url = postgres.new_database()
        stack.callback(postgres.drop_database, url)
        store = Store(lambda: PostgresMetadata(url), lambda: PostgresLocks(url))
    stack.callback(store.close)
    return store


def new_repository(
    tx: Transaction, name: str = "app", account: str = ACCOUNT, region: str = REGION
) -> Repository:
    """Add a repository."""
    return tx.repositories.insert(
        account=account,
        region=region,
        name=name,
        created_at=NOW,
        tag_mutability="MUTABLE",
        tag_exclusions=("release*",),
        scan_on_push=True,
        encryption_type="AES256",
        kms_key=None,
    )


def digest(seed: object) -> str:
    """Return a digest, different for each seed, in the order of their texts."""
    return f"sha256:{str(seed).encode().hex():0<64}"


def new_image(tx: Transaction, repository: Repository, seed: object = 0, **changed: Any) -> Image:
    """Add an image."""
    values: dict[str, Any] = {
        "repository_id": repository.id,
        "digest": digest(seed),
        "media_type": "image",
        "artifact_type": None,
        "config_media_type": None,
        "subject_digest": None,
        "annotations": None,
        "manifest_size": 9,
        "size": 100,
        "pushed_at": NOW,
        "last_pulled_at": None,
    }
    image_id = tx.images.insert(Image(id=0, **(values | changed)), f"manifest {seed}".encode())
    found = tx.images.by_id(image_id)
    assert found is not None
    return found
