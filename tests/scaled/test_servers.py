"""Several servers over one PostgreSQL and one bucket: what they share, and a database that is killed."""

from __future__ import annotations

import contextlib
import http.client
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest
from botocore.exceptions import ClientError
from psycopg import sql

from ecr_emulator.metadata import postgresql
from ecr_emulator.settings import Settings
from ecr_emulator.testing import BackgroundServer
from tests.contract.conftest import OCI_MANIFEST, connect, image_manifest, sha256
from tests.contract.oci_client import OciClient, exchange
from tests.faults.conftest import COMMAND, ServerProcess, eventually
from tests.postgresql import Postgres
from tests.stores import ScaledStores

DAY = 24 * 3600.0
PUSHERS = 4
ROUNDS = 3


@pytest.fixture
def servers(scaled: ScaledStores, tmp_path: Path) -> Iterator[tuple[BackgroundServer, BackgroundServer]]:
    """Two servers that have nothing but a database and a bucket in common."""
    place = scaled.new_place()
    settings = [
        Settings(data_dir=str(tmp_path / name), port=0, auth="token", engines="off", **place.settings)
        for name in ("one", "other")
    ]
    with BackgroundServer(settings[0]) as one, BackgroundServer(settings[1]) as other:
        yield one, other
    scaled.drop(place)


def now(server: BackgroundServer) -> float:
    return float(OciClient(server.address).get("/_emulator/clock").json()["epoch"])


def test_what_one_server_takes_in_another_gives_out(
    servers: tuple[BackgroundServer, BackgroundServer],
) -> None:
    one, other = servers
    connect(one.url).create_repository(repositoryName="app")
    api = connect(other.url)
    [authorization] = api.get_authorization_token()["authorizationData"]
    headers = {"Authorization": f"Basic {authorization['authorizationToken']}"}
    # A token of one server opens the other, and an upload goes on there.
    oci = OciClient(one.address, **headers)
    location = oci.begin_upload("app")
    content = b"layer"
    assert OciClient(other.address, **headers).patch(location, content).status == 202
    assert oci.put(f"{location}?digest={sha256(content)}").status == 201
    assert OciClient(other.address, **headers).get(f"/v2/app/blobs/{sha256(content)}").body == content
    image = image_manifest(content, content)
    assert oci.push_manifest("app", "v1", image, OCI_MANIFEST).status == 201
    url = api.get_download_url_for_layer(repositoryName="app", layerDigest=sha256(content))["downloadUrl"]
    assert OciClient(one.address).get(url.replace(other.url, "")).body == content


def test_the_clock_and_a_reset_are_everywhere_within_seconds(
    servers: tuple[BackgroundServer, BackgroundServer],
) -> None:
    one, other = servers
    one.advance_clock(DAY)
    assert now(one) == pytest.approx(time.time() + DAY, abs=5)
    eventually(lambda: now(other) > time.time() + DAY - 5)
    # From where the store's clock is, whoever puts it forward.
    other.advance_clock(DAY)
    assert now(other) == pytest.approx(time.time() + 2 * DAY, abs=5)
    eventually(lambda: now(one) > time.time() + 2 * DAY - 5)
    [authorization] = connect(other.url).get_authorization_token()["authorizationData"]
    headers = {"Authorization": f"Basic {authorization['authorizationToken']}"}
    other.reset()
    eventually(lambda: now(one) < time.time() + 5)
    for server in servers:
        assert OciClient(server.address, **headers).get("/v2/").status == 401


def test_a_server_that_joins_takes_the_clock_that_is_there(postgres: Postgres, tmp_path: Path) -> None:
    url = postgres.new_database()
    starts = [
        Settings(data_dir=str(tmp_path), metadata_url=url, port=0, engines="off", clock=clock)
        for clock in ("2030-01-01T00:00:00Z", "2040-01-01T00:00:00Z", "")
    ]
    with contextlib.ExitStack() as stack:
        times = [now(stack.enter_context(BackgroundServer(settings))) for settings in starts]
    assert max(times) - min(times) < 60
    assert times[0] == pytest.approx(1_893_456_000, abs=60)
    postgres.drop_database(url)


# -------------------------------------------------------------------------------- starting


def failing_start(tmp_path: Path, url: str, *python: str) -> str:
    """Start a server that can't start, and return what it says."""
    ended = subprocess.run(
        [*(python or COMMAND), "serve", "--port", "0", "--data-dir", str(tmp_path)],
        env={**os.environ, "ECR_EMULATOR_METADATA_URL": url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert ended.stderr.startswith("ecr-emulator: ")
    return ended.stderr


def test_a_database_that_is_not_there_is_told(postgres: Postgres, tmp_path: Path) -> None:
    assert 'database "absent" does not exist' in failing_start(tmp_path, postgres.url("absent"))
    said = failing_start(tmp_path, "postgresql://user:s3cret@127.0.0.1:1/ecr")
    assert "can't connect to the metadata database: " in said
    assert "s3cret" not in said


def test_a_database_of_another_encoding_is_told(postgres: Postgres, tmp_path: Path) -> None:
    postgres.execute(
        sql.SQL("CREATE DATABASE latin TEMPLATE template0 ENCODING LATIN1 LOCALE_PROVIDER libc LOCALE 'C'")
    )
    said = failing_start(tmp_path, postgres.url("latin"))
    assert "the metadata database must have the encoding UTF8, not LATIN1" in said


def test_a_database_of_a_newer_program_is_told(postgres: Postgres, tmp_path: Path) -> None:
    url = postgres.new_database()
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE schema_version SET version = 999")
    assert "the database has schema 999" in failing_start(tmp_path, url)
    postgres.drop_database(url)


def test_a_client_that_is_not_installed_is_told(postgres: Postgres, tmp_path: Path) -> None:
    program = "import sys; sys.modules['psycopg'] = None; from ecr_emulator.cli import main; main()"
    said = failing_start(tmp_path, postgres.url("postgres"), sys.executable, "-c", program)
    assert "metadata_url needs psycopg: pip install 'ecr-emulator[scaled]'" in said


# -------------------------------------------------------------------------------- a database that is killed


def test_a_server_is_not_ready_while_its_database_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "PATIENCE", 0.2)
    with Postgres() as postgres:
        settings = Settings(data_dir=str(tmp_path), metadata_url=postgres.new_database(), port=0)
        with BackgroundServer(settings) as server:
            oci = OciClient(server.address)
            assert oci.get("/_emulator/ready").status == 200
            postgres.kill()
            assert oci.get("/_emulator/ready").status == 503
            assert oci.get("/_emulator/health").status == 200
            with pytest.raises(ClientError, match="ServerException"):
                connect(server.url).describe_repositories()
            answer = oci.get("/v2/app/tags/list")
            assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
            postgres.start()
            assert oci.get("/_emulator/ready").status == 200


@dataclass
class Pusher:
    """Pushes tiny images, one after the other, whatever becomes of them."""

    name: str
    address: str
    acknowledged: dict[str, bytes] = field(default_factory=dict)
    refused: int = 0
    is_to_stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        with contextlib.closing(http.client.HTTPConnection(self.address, timeout=60)) as connection:
            number = 0
            while not self.is_to_stop.is_set():
                number += 1
                self.push(connection, f"{self.name}-{number}")

    def push(self, connection: http.client.HTTPConnection, tag: str) -> None:
        config, layer = f"config {tag}".encode(), f"layer {tag}".encode()
        for content in (config, layer):
            path = f"/v2/app/blobs/uploads/?digest={sha256(content)}"
            if exchange(connection, "POST", path, content).status != 201:
                self.refused += 1
                return
        manifest = image_manifest(config, layer)
        headers = {"Content-Type": OCI_MANIFEST}
        answer = exchange(connection, "PUT", f"/v2/app/manifests/{tag}", manifest, headers)
        if answer.status == 201:
            self.acknowledged[tag] = manifest
        else:
            self.refused += 1


def test_a_database_that_is_killed_under_load_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        postgres = stack.enter_context(Postgres(durable=True))
        environment = {"ECR_EMULATOR_METADATA_URL": postgres.new_database(empty=True)}
        servers = [
            stack.enter_context(ServerProcess("--data-dir", str(tmp_path), environment=environment))
            for _ in range(2)
        ]
        servers[0].api.create_repository(repositoryName="app")
        pushers = [Pusher(f"p{number}", servers[number % 2].address) for number in range(PUSHERS)]
        threads = [threading.Thread(target=pusher.run) for pusher in pushers]
        for thread in threads:
            thread.start()
        try:
            for _ in range(ROUNDS):
                time.sleep(0.7)
                postgres.kill()
                time.sleep(0.3)
                postgres.start()
                # Both servers are at work again, without being started again.
                before = [len(pusher.acknowledged) for pusher in pushers]
                eventually(
                    lambda before=before: all(
                        len(pusher.acknowledged) > number
                        for pusher, number in zip(pushers, before, strict=True)
                    ),
                    timeout=30,
                )
        finally:
            for pusher in pushers:
                pusher.is_to_stop.set()
            for thread in threads:
                thread.join()
        acknowledged = {tag: manifest for pusher in pushers for tag, manifest in pusher.acknowledged.items()}
        assert len(acknowledged) > PUSHERS * ROUNDS
        oci = servers[1].oci
        lost = [
            tag
            for tag, manifest in acknowledged.items()
            if oci.get(f"/v2/app/manifests/{tag}").body != manifest
        ]
        print(
            f"{len(acknowledged)} acknowledged, {sum(p.refused for p in pushers)} refused, {len(lost)} lost"
        )
        assert lost == []
        for server in servers:
            assert server.stop() == 0
