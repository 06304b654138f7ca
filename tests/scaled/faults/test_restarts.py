"""Servers that are restarted in turn while clients push and pull through a balancer."""

from __future__ import annotations

import pytest

from tests.scaled.faults.clients import acknowledged_by, mended_by
from tests.scaled.faults.conftest import OpenCluster

SERVERS = 3
CLIENTS = 6
ROUNDS = 2


@pytest.mark.timeout(300)
def test_no_client_sees_what_a_retry_does_not_mend(cluster_of: OpenCluster) -> None:
    with cluster_of(SERVERS) as cluster:
        clients = cluster.start_pushers(CLIENTS)
        for server in cluster.servers * ROUNDS:
            assert server.stop() == 0
            server.start()
        acknowledged = acknowledged_by(clients)
        lost = cluster.lost(acknowledged)
        print(
            f"{SERVERS * ROUNDS} restarts, {len(acknowledged)} images acknowledged, {len(lost)} lost,"
            f" mended: {mended_by(clients)}"
        )
        assert lost == []
        print(cluster.check())
        assert len(acknowledged) > CLIENTS * ROUNDS
        for server in cluster.servers:
            assert "Traceback" not in server.log
