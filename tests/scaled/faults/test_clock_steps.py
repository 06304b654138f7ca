"""Clocks that are put forward and back under servers at work."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.oci_client import OciClient
from tests.faults.conftest import ServerProcess, eventually
from tests.scaled.faults.clients import acknowledged_by, mended_by
from tests.scaled.faults.conftest import SEED, running
from tests.webhook import Webhook

SERVERS = 3
PUSHERS = 3
STEPS = 8
HOUR, DAY = 3600.0, 24 * 3600.0
ELSEWHERE = {"region": "eu-west-1", "registryId": "000000000000"}


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    hook = Webhook()
    yield hook
    hook.close()


def now(server: ServerProcess) -> float:
    return float(server.oci.get("/_emulator/clock").json()["epoch"])


def expiry(days: int) -> str:
    selection = {
        "tagStatus": "any",
        "countType": "sinceImagePushed",
        "countUnit": "days",
        "countNumber": days,
    }
    return json.dumps({"rules": [{"rulePriority": 1, "selection": selection, "action": {"type": "expire"}}]})


def tags_of(api: Any, repository: str) -> set[str]:
    return {entry["imageTag"] for entry in api.list_images(repositoryName=repository)["imageIds"]}


@pytest.mark.timeout(300)
def test_nothing_is_lost_and_no_engine_is_stuck(
    shared: dict[str, str], tmp_path: Path, webhook: Webhook
) -> None:
    sink = ("--event-sinks", f"http://{webhook.address}/")
    with running(tmp_path / "data", shared, SERVERS, *sink) as cluster:
        api, rng = cluster.api, random.Random(SEED)
        api.put_replication_configuration(replicationConfiguration={"rules": [{"destinations": [ELSEWHERE]}]})
        api.create_repository(repositoryName="old")
        api.put_lifecycle_policy(repositoryName="old", lifecyclePolicyText=expiry(days=1))
        cluster.oci(1).push_image("old", "v1")
        pushers = cluster.start_pushers(PUSHERS)
        for number in range(STEPS):
            time.sleep(0.6)
            step = rng.choice([-3, -1, 1, 3]) * rng.choice([HOUR, DAY])
            cluster.servers[number % SERVERS].manage("clock", {"advance": step})
        # The policy is evaluated within a day of the clock, by whichever server.
        cluster.servers[0].manage("clock", {"now": time.time() + 5 * DAY})
        eventually(lambda: tags_of(api, "old") == set(), timeout=20)
        cluster.servers[1].manage("clock", {"reset": True})
        acknowledged = acknowledged_by(pushers)
        lost = cluster.lost(acknowledged)
        print(
            f"{STEPS + 2} steps, {len(acknowledged)} images acknowledged, {len(lost)} lost,"
            f" mended: {mended_by(pushers)}"
        )
        assert lost == []
        print(cluster.check())
        # All that was left to engines at times that are to come again is done now.
        copied = cluster.servers[0].api_in("eu-west-1")
        eventually(lambda: tags_of(copied, "app") == acknowledged.keys(), timeout=20)
        pushed = {("us-east-1", tag) for tag in acknowledged} | {("eu-west-1", tag) for tag in acknowledged}

        def told() -> set[tuple[str, str]]:
            return {(event["region"], event["detail"].get("image-tag", "")) for event in webhook.received}

        eventually(lambda: told() >= pushed, timeout=20)
        for server in cluster.servers:
            assert "Traceback" not in server.log


def test_tokens_live_and_die_by_the_clock_of_all_servers(shared: dict[str, str], tmp_path: Path) -> None:
    with running(tmp_path / "data", shared, 2, "--auth", "token") as cluster:
        one, other = cluster.servers

        def login(server: ServerProcess) -> dict[str, str]:
            [data] = server.api.get_authorization_token()["authorizationData"]
            return {"Authorization": f"Basic {data['authorizationToken']}"}

        def statuses(headers: dict[str, str]) -> list[int]:
            return [OciClient(server.address, **headers).get("/v2/").status for server in cluster.servers]

        before = login(one)
        assert statuses(before) == [200, 200]
        one.manage("clock", {"advance": 13 * HOUR})
        eventually(lambda: statuses(before) == [403, 403])
        later = login(other)
        assert statuses(later) == [200, 200]
        # Back again, neither has expired: a token is good until its time, on whatever day it was issued.
        other.manage("clock", {"reset": True})
        eventually(lambda: statuses(before) == [200, 200])
        assert statuses(later) == [200, 200]


def test_work_that_was_left_before_the_clock_was_put_back_is_due(
    shared: dict[str, str], tmp_path: Path
) -> None:
    with running(tmp_path / "data", shared, 2, "--engines", "off") as cluster:
        one, other = cluster.servers
        api = cluster.api
        api.put_replication_configuration(replicationConfiguration={"rules": [{"destinations": [ELSEWHERE]}]})
        one.manage("clock", {"advance": 30 * DAY})
        cluster.oci(0).push_image("app", "v1")
        one.manage("clock", {"reset": True})
        assert one.manage("run/replication", {})["done"] == 1
        assert tags_of(one.api_in("eu-west-1"), "app") == {"v1"}
        eventually(lambda: now(other) < time.time() + HOUR)
