"""What holds for all tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from ecr_emulator.testing import background
from tests.stores import LocalStores, ScaledStores

if TYPE_CHECKING:
    from tests.postgresql import Postgres
    from tests.s3 import Versitygw

# The same examples in each run, and no limit on the time of one: a busy machine fails no test.
settings.register_profile("tests", deadline=None, derandomize=True)
settings.load_profile("tests")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--store",
        choices=["local", "scaled"],
        default="local",
        help="where the servers of the tests keep their state: in their data folders, or in what several "
        "servers can share",
    )
    parser.addoption(
        "--kills",
        type=int,
        default=32,
        metavar="NUMBER",
        help="how often each of the tests that kill servers in the middle of pushes does so",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--store") == "scaled":
        local = [item for item in items if item.get_closest_marker("local")]
        config.hook.pytest_deselected(items=local)
        items[:] = [item for item in items if item not in local]


@pytest.fixture
def kills(request: pytest.FixtureRequest) -> int:
    """How often a test kills servers in the middle of pushes."""
    return int(request.config.getoption("--kills"))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server."""
    # Only the tests of what several servers share need its client.
    from tests.postgresql import Postgres

    with Postgres() as server:
        yield server


@pytest.fixture(scope="session")
def versitygw() -> Iterator[Versitygw]:
    """An S3 service."""
    from tests.s3 import Versitygw

    with Versitygw() as service:
        yield service


@pytest.fixture(scope="session")
def scaled(postgres: Postgres, versitygw: Versitygw) -> Iterator[ScaledStores]:
    """Stores in PostgreSQL and S3; servers in this process have the credentials."""
    from ecr_emulator.blobs import bucket
    from tests.s3 import new_sdk

    sdk = new_sdk()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bucket, "get_session", lambda: sdk)
        yield ScaledStores(postgres, versitygw)


@pytest.fixture(scope="session", autouse=True)
def backing(request: pytest.FixtureRequest) -> Iterator[LocalStores | ScaledStores]:
    """The stores that were asked for, which each server has that runs in this process."""
    if request.config.getoption("--store") == "local":
        yield LocalStores()
        return
    stores: ScaledStores = request.getfixturevalue("scaled")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(background, "running", stores.running)
        yield stores
