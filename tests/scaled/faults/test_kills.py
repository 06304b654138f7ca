"""Servers that are killed in the middle of pushes, while clients go on with the others."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from tests.scaled.faults.clients import acknowledged_by, mended_by
from tests.scaled.faults.conftest import SEED, running

SERVERS = 3
PUSHERS = 4
# Seconds of pushing before a kill.
SHORTEST, LONGEST = 0.05, 0.5


@pytest.mark.timeout(600)
def test_what_was_acknowledged_survives_kills_and_nothing_is_half_there(
    shared: dict[str, str], tmp_path: Path, kills: int
) -> None:
    rng = random.Random(SEED)
    with running(tmp_path / "data", shared, SERVERS) as cluster:
        # Some wait until the lease of the killed server has run out, others begin anew.
        pushers = cluster.start_pushers(PUSHERS, persistence=0.2)
        for _ in range(kills):
            time.sleep(rng.uniform(SHORTEST, LONGEST))
            server = rng.choice(cluster.servers)
            server.kill()
            server.start()
        acknowledged = acknowledged_by(pushers)
        mended = mended_by(pushers)
        lost = cluster.lost(acknowledged)
        print(f"{kills} kills, {len(acknowledged)} images acknowledged, {len(lost)} lost, mended: {mended}")
        assert lost == []
        print(cluster.check())
        # The kills met what they are meant to meet.
        assert len(acknowledged) > kills
        assert mended["begun anew"]
        assert mended["part cut off"]
