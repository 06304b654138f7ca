"""What every operation answers where a store, or the emulator itself, fails: ServerException."""

from collections.abc import Iterator
from typing import Any

import pytest

from ecr_emulator.control import model
from ecr_emulator.metadata.store import MetadataUnavailableError
from ecr_emulator.settings import MEMORY, Settings
from ecr_emulator.testing import BackgroundServer
from tests.contract.test_bad_input import IMPLEMENTED, Api, State

# As in test_bad_input: nothing is stored.
pytestmark = pytest.mark.local


class FailingMetadata:
    """A metadata store that fails as it is told to."""

    def __init__(self) -> None:
        self.error: Exception = MetadataUnavailableError("lost")

    async def read(self, *_: Any, **__: Any) -> Any:
        raise self.error

    peek = write = write_briefly = write_lazily = read

    def version(self) -> int | None:
        return None


@pytest.fixture(scope="module")
def inputs() -> Iterator[tuple[Api, dict[str, Any], FailingMetadata]]:
    """A connection to a server whose database fails, and inputs with which each operation would work."""
    with BackgroundServer(Settings(data_dir=MEMORY, port=0, engines="off")) as server:
        api, emulator = Api(server.address), server._running.emulator
        state = State(api)
        valid = {name: state.valid_input(name) for name in IMPLEMENTED}
        kept, emulator.metadata = emulator.metadata, FailingMetadata()
        yield api, valid, emulator.metadata
        emulator.metadata = kept
        api.close()


@pytest.mark.parametrize("operation", IMPLEMENTED)
@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MetadataUnavailableError("lost"), "A store does not answer"),
        (OSError(28, "No space left on device"), "The service failed"),
    ],
    ids=["unavailable", "broken"],
)
def test_a_store_that_fails_is_told_as_such(inputs, operation, error, message):
    api, valid, metadata = inputs
    metadata.error = error
    answer = api.call(operation, valid[operation])
    assert "ServerException" in model.operations()[operation].errors
    assert (answer.status, answer.body) == (500, {"__type": "ServerException", "message": message})
    assert answer.headers["x-amzn-ErrorType"] == "ServerException"
    assert answer.headers["x-amzn-RequestId"]
