"""The start: what it leaves to its first use, which no stopwatch could hold against a busy machine."""

import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ecr_emulator.tls import files
from tests.contract.oci_client import OciClient, api_client
from tests.serving import get, serve
from tests.webhook import Webhook

pytestmark = pytest.mark.local

# Each takes milliseconds, and only some servers, or some calls, need it.
LATE = {
    "aiobotocore",
    "boto3",
    "botocore",
    "cryptography",
    "importlib.metadata",
    "jsonschema",
    "multiprocessing",
    "prometheus_client",
    "psycopg",
    "tarfile",
    "xml.etree",
    "ecr_emulator.blobs.bucket",
    "ecr_emulator.blobs.encrypted",
    "ecr_emulator.blobs.s3",
    "ecr_emulator.commands",
    "ecr_emulator.core.bundle",
    "ecr_emulator.core.notary",
    "ecr_emulator.core.seeding",
    "ecr_emulator.metadata.postgresql",
    "ecr_emulator.scanners.command",
    "ecr_emulator.scanners.inventory",
    "ecr_emulator.testing",
    "ecr_emulator.tls",
}
# There are fewer than 150, and each takes half a millisecond.
MOST_MODULES = 160


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """The modules that a server has imported when it has given its first answer."""
    folder, logs = tmp_path_factory.mktemp("start"), {}
    with serve(folder, logs, environment={"PYTHONPROFILEIMPORTTIME": "1"}) as server:
        get(f"{server.url}/v2/")
        lines = (folder / "server.log").read_text().splitlines()
    return {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}


def test_what_few_servers_need_is_not_imported(imported):
    assert "ecr_emulator.core.images" in imported
    assert sorted(LATE & imported) == []


def test_modules_do_not_become_many(imported):
    assert len([name for name in imported if name.startswith("ecr_emulator")]) < MOST_MODULES


def test_values_are_not_dataclasses():
    package = Path(files.__file__).parents[1]
    sources = {path.name for path in package.rglob("*.py") if "@dataclass" in path.read_text()}
    assert sources == {"settings.py"}


@pytest.fixture
def webhook(tmp_path):
    """A webhook over TLS, and the CA that signed its certificate."""
    made = files.ensure(tmp_path / "ca", {"127.0.0.1"}, datetime.now(UTC))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.server)
    hook = Webhook(context)
    yield hook, made.authority
    hook.close()


@pytest.mark.parametrize(("trusted", "delivered"), [(True, 1), (False, 0)])
def test_a_client_trusts_whom_the_system_trusts(tmp_path, webhook, trusted, delivered):
    """Though aiohttp was imported without the system's certificates."""
    hook, ca_file = webhook
    environment = {
        "SSL_CERT_FILE": str(ca_file if trusted else tmp_path / "none.pem"),
        "SSL_CERT_DIR": str(tmp_path / "none"),
        "ECR_EMULATOR_ENGINES": "off",
    }
    sink = f"https://{hook.address}/"
    with serve(tmp_path, {}, "--event-sinks", sink, environment=environment) as server:
        api_client(server.url).create_repository(repositoryName="app")
        OciClient(server.registry).push_image("app", "v1")
        get(f"{server.url}/_emulator/run/events", b"{}")
    assert len(hook.received) == delivered
