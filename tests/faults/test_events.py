"""A server that is killed while it delivers events: each sink gets all of them, in their order."""

import contextlib
import http.client
import json
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.oci_client import OciClient, exchange
from tests.faults.conftest import ServerProcess, eventually
from tests.webhook import Webhook

ROUNDS = 4
PUSHERS = 2
SEED = 20240229
SHORTEST, LONGEST = 0.1, 0.3


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    hook = Webhook()
    yield hook
    hook.close()


def push_forever(address: str, name: str, manifest: bytes, acknowledged: list[str]) -> None:
    """Push an image under one tag after the other, until the server is gone."""
    headers = {"Content-Type": "application/vnd.oci.image.manifest.v1+json"}
    connection = http.client.HTTPConnection(address, timeout=30)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        for number in range(100_000):
            tag = f"{name}-{number:06}"
            assert exchange(connection, "PUT", f"/v2/app/manifests/{tag}", manifest, headers).status == 201
            acknowledged.append(tag)


def events_in(file: Path) -> list[dict[str, object]]:
    """The events in a file, but for lines that a kill cut off."""
    events = []
    for line in file.read_text().splitlines():
        with contextlib.suppress(ValueError):
            events.append(json.loads(line))
    return events


def test_a_kill_loses_no_event(data_dir: Path, tmp_path: Path, webhook: Webhook) -> None:
    file = tmp_path / "events.jsonl"
    sinks = f"file://{file},http://{webhook.address}/"
    settings = ("--event-sinks", sinks, "--quotas", "tags_per_image=1000000")
    server = ServerProcess("--data-dir", str(data_dir), *settings)
    rng = random.Random(SEED)
    acknowledged: list[str] = []
    try:
        server.start().api.create_repository(repositoryName="app")
        image = server.oci.push_image("app", "first")
        for number in range(ROUNDS):
            # It takes some events and refuses others, so that there are some in every state.
            webhook.status = 200 if number % 2 else 503
            pushers = [
                threading.Thread(
                    target=push_forever,
                    args=(server.address, f"r{number}p{pusher}", image.manifest, acknowledged),
                )
                for pusher in range(PUSHERS)
            ]
            for pusher in pushers:
                pusher.start()
            time.sleep(rng.uniform(SHORTEST, LONGEST))
            server.kill()
            for pusher in pushers:
                pusher.join()
            server.start()
        webhook.status = 200
        server.manage("run/events", {})
        eventually(lambda: not waiting(server.oci))
        assert server.stop() == 0
    finally:
        server.kill()
    assert len(acknowledged) > ROUNDS * PUSHERS
    for events in (events_in(file), webhook.received):
        ids = {event["detail"]["image-tag"]: event["id"] for event in events}
        assert ids.keys() >= set(acknowledged)
        # What was delivered twice is the same event.
        assert len({event["id"] for event in events}) == len(ids)
        first_seen = list(dict.fromkeys(event["detail"]["image-tag"] for event in events))
        for prefix in {tag[:4] for tag in acknowledged}:
            ours = [tag for tag in first_seen if tag.startswith(prefix)]
            assert ours == sorted(ours)


def waiting(oci: OciClient) -> bool:
    lines = oci.get("/_emulator/metrics").body.decode().splitlines()
    return any(
        line.startswith("ecr_emulator_waiting_events{") and not line.endswith(" 0.0") for line in lines
    )
