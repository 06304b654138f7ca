"""Much of everything: tags of an image, images of a repository and of an index, pushes at once."""

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from ecr_emulator.metadata.images import ImageFilter
from ecr_emulator.metadata.sqlite import SqliteDatabase
from ecr_emulator.metadata.store import Transaction
from ecr_emulator.settings import Settings
from ecr_emulator.testing import BackgroundServer
from tests.contract.conftest import (
    OCI_INDEX,
    OCI_MANIFEST,
    connect,
    image_manifest,
    put_image,
    refused,
    sha256,
)
from tests.contract.oci_client import OciClient

IMAGES = 20_000
# Every so many an image has no tag, or two.
UNTAGGED, TWICE = 10, 7
PAGE = 1000


@pytest.fixture
def oci(server: BackgroundServer) -> OciClient:
    return OciClient(server.address)


# -------------------------------------------------------------------------------------- pushes at once


def test_the_same_blob_is_pushed_many_times_at_once(ecr: Any, oci: OciClient) -> None:
    content = b"the same" * 100_000
    names = [f"app{number % 2}" for number in range(8)]
    for name in set(names):
        ecr.create_repository(repositoryName=name)
    barrier = threading.Barrier(len(names))

    def push(name: str) -> str:
        location = oci.begin_upload(name)
        assert oci.patch(location, content[:1000]).status == 202
        barrier.wait()
        answer = oci.put(f"{location}?digest={sha256(content)}", content[1000:])
        assert answer.status == 201, answer
        return str(answer.headers["Docker-Content-Digest"])

    with ThreadPoolExecutor(len(names)) as pool:
        assert set(pool.map(push, names)) == {sha256(content)}
    for name in set(names):
        assert oci.get(f"/v2/{name}/blobs/{sha256(content)}").body == content


def test_the_same_image_is_pushed_many_times_at_once(ecr: Any, oci: OciClient, repository: str) -> None:
    barrier = threading.Barrier(8)

    def push(_number: int) -> str:
        barrier.wait()
        return oci.push_image(repository, "v1").digest

    with ThreadPoolExecutor(8) as pool:
        (digest,) = set(pool.map(push, range(8)))
    assert ecr.list_images(repositoryName=repository)["imageIds"] == [
        {"imageDigest": digest, "imageTag": "v1"}
    ]


# ---------------------------------------------------------------------------------- tags, and children


def test_an_image_with_a_thousand_tags(ecr: Any, oci: OciClient, repository: str) -> None:
    digest = put_image(ecr, repository, "tag-0000")
    manifest = oci.get(f"/v2/{repository}/manifests/{digest}").body
    tags = [f"tag-{number:04}" for number in range(1000)]
    for start in range(0, len(tags), 50):
        query = "&".join(f"tag={tag}" for tag in tags[start : start + 50])
        path = f"/v2/{repository}/manifests/{digest}?{query}"
        assert oci.put(path, manifest, {"Content-Type": OCI_MANIFEST}).status == 201
    code, message = refused(
        ecr.put_image, repositoryName=repository, imageManifest=manifest.decode(), imageTag="one-more"
    )
    assert code == "LimitExceededException"
    assert message.endswith("exceeds the maximum allowed number of tags per image which is '1000'")

    pages = ecr.get_paginator("list_images").paginate(repositoryName=repository)
    assert [entry["imageTag"] for page in pages for entry in page["imageIds"]] == tags
    (described,) = ecr.describe_images(repositoryName=repository)["imageDetails"]
    assert described["imageTags"] == tags
    assert oci.get(f"/v2/{repository}/tags/list").json()["tags"] == tags

    deleted = ecr.batch_delete_image(
        repositoryName=repository, imageIds=[{"imageTag": tag} for tag in tags[:100]]
    )
    assert [entry["imageTag"] for entry in deleted["imageIds"]] == tags[:100]
    deleted = ecr.batch_delete_image(repositoryName=repository, imageIds=[{"imageDigest": digest}])
    assert deleted["imageIds"] == [{"imageDigest": digest, "imageTag": tag} for tag in tags[100:]]
    assert ecr.list_images(repositoryName=repository)["imageIds"] == []
    assert oci.get(f"/v2/{repository}/tags/list").json()["tags"] == []


def test_an_index_of_500_images(ecr: Any, oci: OciClient, repository: str) -> None:
    config, layer = b"{}", b"a layer"
    for content in (config, layer):
        oci.push_blob(repository, content)
    children = [image_manifest(config, layer, annotations={"number": str(n)}) for n in range(500)]
    for child in children:
        assert oci.push_manifest(repository, sha256(child), child).status == 201
    entries = [
        {
            "mediaType": OCI_MANIFEST,
            "digest": sha256(child),
            "size": len(child),
            "platform": {"os": "linux", "architecture": f"cpu{number}"},
        }
        for number, child in enumerate(children)
    ]
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()
    assert oci.push_manifest(repository, "v1", index, OCI_INDEX).status == 201
    assert oci.get(f"/v2/{repository}/manifests/v1").body == index
    (described,) = ecr.describe_images(repositoryName=repository, imageIds=[{"imageTag": "v1"}])[
        "imageDetails"
    ]
    assert described["imageSizeInBytes"] == len(config) + len(layer)

    ids = [{"imageDigest": sha256(child)} for child in children]
    refusal = ecr.batch_delete_image(repositoryName=repository, imageIds=ids[:100])
    assert {failure["failureCode"] for failure in refusal["failures"]} == {"ImageReferencedByManifestList"}
    assert len(refusal["failures"]) == 100
    ecr.batch_delete_image(repositoryName=repository, imageIds=[{"imageTag": "v1"}])
    for start in range(0, len(ids), 100):
        deleted = ecr.batch_delete_image(repositoryName=repository, imageIds=ids[start : start + 100])
        assert len(deleted["imageIds"]) == 100
    assert ecr.list_images(repositoryName=repository)["imageIds"] == []


# --------------------------------------------------------------------------------------------- images


def tags_of(number: int) -> list[str]:
    if number % UNTAGGED == 0:
        return []
    return [f"t{number:05}", f"u{number:05}"] if number % TWICE == 0 else [f"t{number:05}"]


def digest_of(number: int) -> str:
    # Of no order that has to do with that of the images.
    return sha256(str(number).encode())


def insert_images(tx: Transaction, name: str) -> None:
    """Add 20,000 images, as pushes would, but at once."""
    repository = tx.repositories.get("000000000000", "us-east-1", name)
    assert repository is not None
    database = tx._database
    database.run_many(
        "INSERT INTO images (repository_id, digest, media_type, manifest_size, size, pushed_at, status)"
        f" VALUES (:repository_id, :digest, '{OCI_MANIFEST}', 100, 1000, :pushed_at, 'ACTIVE')",
        [
            {"repository_id": repository.id, "digest": digest_of(number), "pushed_at": 1.6e9 + number}
            for number in range(IMAGES)
        ],
    )
    database.run_many(
        "INSERT INTO tags (repository_id, name, image_id) SELECT repository_id, :tag, id FROM images"
        " WHERE repository_id = :repository_id AND digest = :digest",
        [
            {"repository_id": repository.id, "digest": digest_of(number), "tag": tag}
            for number in range(IMAGES)
            for tag in tags_of(number)
        ],
    )
    database.run(
        "UPDATE repositories SET image_count = image_count + :number WHERE id = :id",
        id=repository.id,
        number=IMAGES,
    )


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[BackgroundServer, Path]]:
    """A server with 20,000 images in the repository app, and as many in another that was pushed to later."""
    data_dir = tmp_path_factory.mktemp("large")
    with BackgroundServer(Settings(data_dir=str(data_dir), port=0, engines="off")) as server:
        client = connect(server.url)
        for name in ("app", "other"):
            client.create_repository(repositoryName=name)
            server._run(server._running.emulator.metadata.write(insert_images, name))
        yield server, data_dir / "metadata.sqlite"


def expected(tag_status: str) -> list[dict[str, str]]:
    entries = []
    for number in range(IMAGES):
        tags = tags_of(number)
        if tags and tag_status != "UNTAGGED":
            entries += [{"imageDigest": digest_of(number), "imageTag": tag} for tag in tags]
        elif not tags and tag_status != "TAGGED":
            entries.append({"imageDigest": digest_of(number)})
    return entries


@pytest.mark.parametrize("tag_status", ["ANY", "TAGGED", "UNTAGGED"])
def test_20_000_images_are_listed_page_by_page(large: tuple[BackgroundServer, Path], tag_status: str) -> None:
    client = connect(large[0].url)
    pages = list(
        client.get_paginator("list_images").paginate(
            repositoryName="app", filter={"tagStatus": tag_status}, PaginationConfig={"PageSize": PAGE}
        )
    )
    assert [entry for page in pages for entry in page["imageIds"]] == expected(tag_status)
    assert {len(page["imageIds"]) for page in pages[:-1]} <= {PAGE}


def test_20_000_images_are_described_page_by_page(large: tuple[BackgroundServer, Path]) -> None:
    client = connect(large[0].url)
    pages = client.get_paginator("describe_images").paginate(
        repositoryName="other", PaginationConfig={"PageSize": PAGE}
    )
    described = [detail for page in pages for detail in page["imageDetails"]]
    assert [detail["imageDigest"] for detail in described] == [digest_of(n) for n in range(IMAGES)]
    assert [detail.get("imageTags", []) for detail in described] == [tags_of(n) for n in range(IMAGES)]


def test_their_tags_are_listed_page_by_page_on_the_data_plane(large: tuple[BackgroundServer, Path]) -> None:
    oci = OciClient(large[0].address)
    tags: list[str] = []
    path: str | None = "/v2/app/tags/list?n=1000"
    while path is not None:
        answer = oci.get(path)
        tags += answer.json()["tags"]
        link = answer.headers["Link"]
        path = None if link is None else link[1:].partition(">")[0]
        assert path is None or urlsplit(path).path == "/v2/app/tags/list"
    assert tags == sorted(tag for number in range(IMAGES) for tag in tags_of(number))


def steps(connection: sqlite3.Connection, query: Callable[[], Any]) -> int:
    """Return how many instructions of SQLite's virtual machine a query takes, to some ten."""
    count = 0

    def tick() -> int:
        nonlocal count
        count += 10
        return 0

    connection.set_progress_handler(tick, 10)
    try:
        query()
    finally:
        connection.set_progress_handler(None, 0)
    return count


@pytest.mark.local
@pytest.mark.parametrize("name", ["app", "other"])
def test_a_page_costs_the_same_wherever_it_is(large: tuple[BackgroundServer, Path], name: str) -> None:
    connection = sqlite3.connect(large[1])
    tx = Transaction(SqliteDatabase(connection))
    repository = tx.repositories.get("000000000000", "us-east-1", name)
    assert repository is not None
    assert repository.image_count == IMAGES
    repository_id, images, limit = repository.id, tx.images, 100
    (first_id, middle_id, last_id) = (
        connection.execute(
            "SELECT id FROM images WHERE repository_id = ? ORDER BY id LIMIT 1 OFFSET ?",
            (repository_id, offset),
        ).fetchone()[0]
        for offset in (0, IMAGES // 2, IMAGES - limit - 1)
    )
    for status in ("ANY", "TAGGED", "UNTAGGED"):
        wanted = ImageFilter(status)
        costs = [
            steps(connection, partial(query, repository_id, wanted, position, limit))
            for after in (first_id, middle_id, last_id)
            for query, position in ((images.page, after), (images.page_of_identifiers, (after, "")))
        ]
        # A page of 100 that have no tag is found among 1,000 images.
        assert max(costs) < (60_000 if status == "UNTAGGED" else 10_000), (status, costs)
    costs = [
        steps(connection, partial(tx.tags.page, repository_id, after, limit))
        for after in ("", "t10000", "u19000")
    ]
    assert max(costs) < 10_000
    connection.close()
