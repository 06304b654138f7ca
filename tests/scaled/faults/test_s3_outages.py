"""S3 that fails under servers while clients push and pull."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.blobs.faulty import Fault, FaultyS3
from tests.postgresql import Postgres
from tests.s3 import Versitygw
from tests.scaled.faults.clients import acknowledged_by, mended_by
from tests.scaled.faults.conftest import environment_of, running

SERVERS = 2
PUSHERS = 4
# Seconds of each fault, and of the time between two.
OUTAGE, CALM = 1.5, 1.0
# A server that waits for S3 for half a second where others wait for half a minute.
PROGRAM = """
from ecr_emulator.blobs import bucket
from ecr_emulator.cli import main
bucket.ANSWER_TIMEOUT = 0.5
main()
"""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("fault", ["error", "slow down", "hang", "lose the answer"])
def test_what_was_acknowledged_outlives_outages_and_nothing_is_half_there(
    postgres: Postgres, versitygw: Versitygw, tmp_path: Path, fault: Fault
) -> None:
    with FaultyS3(versitygw.endpoint).in_a_thread() as proxy:
        blobs_url = proxy.behind(versitygw.new_url("&redirect=off"))
        environment = environment_of(postgres.new_database(), blobs_url)
        with running(tmp_path / "data", environment, SERVERS, program=PROGRAM) as cluster:
            # Leases that could not be given back keep an upload for half a minute; most begin anew.
            pushers = cluster.start_pushers(PUSHERS, persistence=0.3)
            for _ in range(2):
                time.sleep(CALM)
                proxy.fail(fault)
                time.sleep(OUTAGE)
                proxy.heal()
            time.sleep(CALM)
            acknowledged = acknowledged_by(pushers)
            lost = cluster.lost(acknowledged)
            print(
                f"{proxy.failures} failures, {len(acknowledged)} images acknowledged, {len(lost)} lost,"
                f" mended: {mended_by(pushers)}"
            )
            assert lost == []
            print(cluster.check())
            assert proxy.failures > 2
            assert len(acknowledged) > PUSHERS
            for server in cluster.servers:
                assert "Traceback" not in server.log
