"""What holds for all tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from ecr_emulator.testing import background
from tests.stores import ScaledStores

if TYPE_CHECKING:
    from tests.postgresql import Postgres

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


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--store") == "scaled":
        local = [item for item in items if item.get_closest_marker("local")]
        config.hook.pytest_deselected(items=local)
        items[:] = [item for item in items if item not in local]


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server."""
    # Only the tests of what several servers share need its client.
    from tests.postgresql import Postgres

    with Postgres() as server:
        yield server


@pytest.fixture(scope="session", autouse=True)
def _stores(request: pytest.FixtureRequest) -> Iterator[None]:
    """Give each server that runs in this process the stores that were asked for."""
    if request.config.getoption("--store") == "local":
        yield
        return
    stores = ScaledStores(request.getfixturevalue("postgres"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(background, "running", stores.running)
        yield
