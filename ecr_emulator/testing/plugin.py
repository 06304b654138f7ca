"""The pytest plugin, which is there once the package is installed.

``ecr_server`` is one server for the whole session, ``ecr_registry`` that server with nothing in it
and with the environment that leads code under test to it, ``ecr_client`` a boto3 client.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ecr_emulator.testing import BackgroundServer

# The emulator takes any credentials; SDKs want to have some.
_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_SESSION_TOKEN": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_REGION": "us-east-1",
}


@pytest.fixture(scope="session")
def ecr_server() -> Iterator[BackgroundServer]:
    """Run a throw-away server on a free port of 127.0.0.1, in a thread, for the whole session."""
    # Imported here: a session whose tests never ask for it need not load the server.
    from ecr_emulator.testing import BackgroundServer

    with BackgroundServer() as server:
        yield server


@pytest.fixture
def ecr_registry(ecr_server: BackgroundServer, monkeypatch: pytest.MonkeyPatch) -> BackgroundServer:
    """Give the server with an empty registry, and set AWS_ENDPOINT_URL_ECR and credentials."""
    ecr_server.reset()
    for name, value in _ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL_ECR", ecr_server.url)
    if ecr_server.ca_file:
        monkeypatch.setenv("AWS_CA_BUNDLE", str(ecr_server.ca_file))
    return ecr_server


@pytest.fixture
def ecr_client(ecr_registry: BackgroundServer) -> Any:
    """Make a boto3 client of the empty registry."""
    import boto3

    return boto3.client("ecr", endpoint_url=ecr_registry.url)
