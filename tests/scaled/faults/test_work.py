"""Servers whose engines all run: work is done once, and taken over from one that is killed."""

from __future__ import annotations

import json
import shlex
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from tests.faults.conftest import ServerProcess, eventually
from tests.scaled.faults.conftest import OpenCluster
from tests.webhook import Webhook

SERVERS = 3
IMAGES = 12
KEPT = 2
SCANNER = [sys.executable, "-c", """print('{"SchemaVersion": 2, "Results": []}')""", "{layout}"]


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    hook = Webhook()
    yield hook
    hook.close()


def what(event: dict[str, Any]) -> tuple[str, ...]:
    """What happened, told without the time and the id of its event."""
    detail = event["detail"]
    names = [str(detail.get(key)) for key in ("action-type", "image-digest", "image-tag", "image-tags")]
    return (event["detail-type"], event["region"], *names)


def test_each_piece_of_work_is_done_once(cluster_of: OpenCluster, webhook: Webhook) -> None:
    flags = ["--event-sinks", f"http://{webhook.address}/", "--scan-command", shlex.join(SCANNER)]
    with cluster_of(SERVERS, *flags) as cluster:
        api = cluster.api
        destination = {"region": "eu-west-1", "registryId": "000000000000"}
        api.put_replication_configuration(
            replicationConfiguration={"rules": [{"destinations": [destination]}]}
        )
        api.put_image_scanning_configuration(
            repositoryName="app", imageScanningConfiguration={"scanOnPush": True}
        )
        for number in range(IMAGES):
            cluster.oci(number).push_image("app", f"v{number}", seed=str(number))

        def kinds() -> Counter[tuple[str, ...]]:
            seen = {what(event): event for event in webhook.received}
            return Counter((event["detail-type"], event["region"]) for event in seen.values())

        action, scan, replication = "ECR Image Action", "ECR Image Scan", "ECR Replication Action"
        eventually(lambda: kinds()[scan, "us-east-1"] == IMAGES, timeout=30)
        eventually(lambda: kinds()[replication, "eu-west-1"] == IMAGES, timeout=30)
        rule = {
            "rulePriority": 1,
            "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": KEPT},
            "action": {"type": "expire"},
        }
        api.put_lifecycle_policy(repositoryName="app", lifecyclePolicyText=json.dumps({"rules": [rule]}))
        cluster.manage("run/lifecycle")
        cluster.manage("run/replication")
        cluster.manage("run/events")
        print(f"{len(webhook.received)} events of {len(kinds())} kinds: {kinds()}")
        assert kinds()[action, "us-east-1"] == IMAGES + IMAGES - KEPT
        # Each of them was sent once, and what it tells of was done once.
        assert set(Counter(event["id"] for event in webhook.received).values()) == {1}
        assert set(Counter(map(what, webhook.received)).values()) == {1}
        for server in cluster.servers:
            assert "Traceback" not in server.log


def sender(servers: list[ServerProcess], webhook: Webhook) -> ServerProcess:
    """Return the server that is connected to the webhook."""
    port = int(webhook.address.rpartition(":")[2])
    [found] = [
        server
        for server in servers
        if any(
            connection.raddr
            and connection.raddr.port == port
            and connection.status == psutil.CONN_ESTABLISHED
            for connection in psutil.Process(server.process.pid).net_connections()
        )
    ]
    return found


def test_events_are_taken_over_from_a_server_that_is_killed(
    cluster_of: OpenCluster, webhook: Webhook
) -> None:
    with cluster_of(SERVERS, "--event-sinks", f"http://{webhook.address}/") as cluster:
        # Whoever delivers waits for an answer, and is killed meanwhile.
        webhook.gate.clear()
        for number in range(IMAGES):
            cluster.oci(number).push_image("app", f"v{number}", seed=str(number))
        eventually(lambda: webhook.waiting == 1)
        killed = sender(cluster.servers, webhook)
        killed.kill()
        eventually(lambda: webhook.waiting == 2)
        webhook.gate.set()
        eventually(lambda: len({event["id"] for event in webhook.received}) == IMAGES)
        killed.start()
        cluster.manage("run/events")
        tags = [event["detail"]["image-tag"] for event in webhook.received]
        print(f"{len(tags)} deliveries of {IMAGES} events")
        # What the killed one had begun to send has been sent twice, and is the same event.
        assert tags == ["v0", "v0", *(f"v{number}" for number in range(1, IMAGES))]
        assert len({event["id"] for event in webhook.received}) == IMAGES
