"""Which errors of which operations the tests provoke, held against the table of operations.

For each error that the model declares for an operation, specs/operations.json names a test. What the API
answers while a test runs is recorded, and after the tests of a module each has to have provoked what the
table says of it.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import resources

import pytest
from aiohttp import web

from ecr_emulator.control import endpoint
from ecr_emulator.core.emulator import Emulator
from ecr_emulator.logs import OPERATION

TABLE = json.loads((resources.files("ecr_emulator.specs") / "operations.json").read_text())
# Operation and error.
Pair = tuple[str, str]


def claims() -> dict[str, set[Pair]]:
    """Return what the table says that each test provokes."""
    found: dict[str, set[Pair]] = defaultdict(set)
    for operation, row in TABLE.items():
        for error, test in row["errors"].items():
            found[test].add((operation, error))
    return found


class Recorder:
    """Records what the API of servers in this process answers, by test function."""

    def __init__(self) -> None:
        self._claims = claims()
        self._test = ""
        self._runs: Counter[str] = Counter()
        self._answered: dict[str, set[Pair]] = defaultdict(set)

    @contextmanager
    def recording(self) -> Iterator["Recorder"]:
        """Record for the block."""
        handle = endpoint.handle

        async def handle_and_record(emulator: Emulator, request: web.Request) -> web.Response:
            response = await handle(emulator, request)
            if error := response.headers.get("x-amzn-ErrorType"):
                self._answered[self._test].add((request.get(OPERATION, ""), error))
            return response

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(endpoint, "handle", handle_and_record)
            yield self

    def begin(self, item: pytest.Item) -> None:
        """Take what is answered from now on for answered to a test."""
        self._test = function_of(item)
        self._runs[self._test] += 1

    def missing(self, file: str, items: Iterable[pytest.Item]) -> dict[str, set[Pair]]:
        """Return what the tests of a file, all of whose cases were run, should have provoked and did not."""
        cases = Counter(map(function_of, items))
        return {
            test: missing
            for test, pairs in self._claims.items()
            if test.startswith(f"{file}::") and 0 < self._runs[test] == cases[test]
            if (missing := pairs - self._answered[test])
        }


def function_of(item: pytest.Item) -> str:
    """Return the id of a test without its parameters, as the table has it."""
    return item.nodeid.partition("[")[0]


def are_selected(config: pytest.Config) -> bool:
    """Tell whether only some cases of tests may have been asked for."""
    return bool(config.option.keyword) or any("[" in argument for argument in config.args)
