"""Garbage that three servers collect at once, beside pushes and deletions through all of them."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.contract.oci_client import PushedImage
from tests.scaled.faults.clients import Pusher, acknowledged_by, mended_by
from tests.scaled.faults.conftest import OpenCluster

SERVERS = 3
PUSHERS = 4
COLLECTIONS = 25
# Seconds between two collections, and those for which what was pushed is left alone.
PAUSE, GRACE = 0.5, "2"
# Layers that all pushers use, so that one deletes what another is about to push.
POOL = [f"layer {number} ".encode() * 500 for number in range(6)]


class Changer(Pusher):
    """Deletes again most of what it pushes."""

    def blobs(self, tag: str) -> Iterator[bytes]:
        yield f"config of {tag}".encode()
        yield from self.client.rng.sample(POOL, 2)

    def pushed(self, tag: str, image: PushedImage) -> None:
        super().pushed(tag, image)
        if self.client.rng.random() < 0.7:
            deleted = self.client.rng.choice(list(self.acknowledged))
            del self.acknowledged[deleted]
            answer = self.client.request("DELETE", f"/v2/{self.repository}/manifests/{deleted}")
            assert answer.status == 202, answer


@pytest.mark.timeout(300)
def test_no_image_ever_lacks_a_blob(cluster_of: OpenCluster) -> None:
    flags = ["--engines", "off", "--garbage-grace", GRACE, "--oci-deletes", "on"]
    with cluster_of(SERVERS, *flags) as cluster:
        pushers = cluster.start_pushers(PUSHERS, pusher=Changer)
        collected = 0
        for _ in range(COLLECTIONS):
            collected += sum(answer["done"] for answer in cluster.manage("run/garbage"))
            time.sleep(PAUSE)
        kept = acknowledged_by(pushers)
        lost = cluster.lost(kept)
        print(
            f"{SERVERS * COLLECTIONS} collections of {collected} pieces, {len(kept)} images kept,"
            f" {len(lost)} lost, mended: {mended_by(pushers)}"
        )
        assert lost == []
        print(cluster.check())
        assert len(kept) > PUSHERS
        assert collected > COLLECTIONS
        for server in cluster.servers:
            assert "Traceback" not in server.log
