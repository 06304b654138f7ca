"""Two servers that are given different images for one immutable tag at the same time: one of them wins."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from operator import attrgetter
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.contract.conftest import OCI_MANIFEST, image_manifest, sha256
from tests.contract.oci_client import OciClient
from tests.scaled.faults.conftest import OpenCluster

ROUNDS = 20
LAYER = b"the layer of all images"

Put = Callable[[Any, str, bytes], str]


def by_api(api: Any, tag: str, manifest: bytes) -> str:
    try:
        api.put_image(
            repositoryName="app",
            imageManifest=manifest.decode(),
            imageManifestMediaType=OCI_MANIFEST,
            imageTag=tag,
        )
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return "won"


def by_push(oci: OciClient, tag: str, manifest: bytes) -> str:
    answer = oci.push_manifest("app", tag, manifest)
    return "won" if answer.status == 201 else "{} {}".format(*answer.error)


CLIENTS = {by_api: attrgetter("api"), by_push: attrgetter("oci")}
REFUSED = {by_api: "ImageTagAlreadyExistsException", by_push: "400 TAG_INVALID"}


@pytest.mark.parametrize("ways", [(by_api, by_api), (by_push, by_push), (by_api, by_push)])
def test_exactly_one_push_of_an_immutable_tag_wins(cluster_of: OpenCluster, ways: tuple[Put, Put]) -> None:
    with cluster_of(2, "--engines", "off") as cluster:
        cluster.api.put_image_tag_mutability(repositoryName="app", imageTagMutability="IMMUTABLE")
        cluster.servers[0].oci.push_blob("app", LAYER)
        clients = [CLIENTS[way](server) for way, server in zip(ways, cluster.servers, strict=True)]
        won = [0, 0]
        with ThreadPoolExecutor(2) as threads:
            for number in range(ROUNDS):
                tag, together = f"v{number}", threading.Barrier(2)
                manifests = [
                    image_manifest(LAYER, LAYER, annotations={"of": f"{tag} of {turn}"}) for turn in range(2)
                ]

                def put(turn: int, tag=tag, together=together, manifests=manifests) -> str:
                    together.wait()
                    return ways[turn](clients[turn], tag, manifests[turn])

                # Who is let go first has an advantage: each in turn.
                turns = (0, 1) if number % 2 else (1, 0)
                outcomes = dict(zip(turns, threads.map(put, turns), strict=True))
                [winner] = [turn for turn in range(2) if outcomes[turn] == "won"]
                won[winner] += 1
                assert outcomes[1 - winner] == REFUSED[ways[1 - winner]]
                for server in cluster.servers:
                    assert server.oci.get(f"/v2/app/manifests/{tag}").body == manifests[winner]
                    # The other left nothing.
                    loser = sha256(manifests[1 - winner])
                    assert server.oci.get(f"/v2/app/manifests/{loser}").status == 404
        print(f"{ROUNDS} rounds, won by one server and by the other: {won}")
        # It was a race, where both took the same time.
        assert all(won) or ways[0] != ways[1]
