"""The query behind both lists of referrers: its filters, its pages and its index."""

import sqlite3
from collections.abc import Iterator

import pytest

from ecr_emulator.metadata.images import Image, Images, ReferrerFilter
from ecr_emulator.metadata.repositories import Repositories
from ecr_emulator.metadata.sqlite import SqliteDatabase, migrate

SUBJECT = "sha256:subject"
STATUSES = ("ACTIVE", "ARCHIVED", "ACTIVATING")


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection)
    yield connection
    connection.close()


@pytest.fixture
def images(connection: sqlite3.Connection) -> Images:
    """Referrers of two types in each status, one after the other."""
    database = SqliteDatabase(connection)
    repository = Repositories(database).insert(
        account="000000000000",
        region="us-east-1",
        name="app",
        created_at=0.0,
        tag_mutability="MUTABLE",
        tag_exclusions=(),
        scan_on_push=False,
        encryption_type="AES256",
        kms_key=None,
    )
    images = Images(database)
    for status in STATUSES:
        for artifact_type in ("sbom", "signature"):
            images.insert(
                Image(
                    id=0,
                    repository_id=repository.id,
                    digest=f"{artifact_type} {status}",
                    media_type="manifest",
                    artifact_type=artifact_type,
                    config_media_type=None,
                    subject_digest=SUBJECT,
                    annotations=None,
                    manifest_size=1,
                    size=1,
                    pushed_at=0.0,
                    last_pulled_at=None,
                    status=status,
                ),
                b"{}",
            )
    return images


@pytest.mark.parametrize(
    ("wanted", "digests"),
    [
        (ReferrerFilter(), ["sbom ACTIVE", "signature ACTIVE"]),
        (ReferrerFilter(status="ARCHIVED"), ["sbom ARCHIVED", "signature ARCHIVED"]),
        (ReferrerFilter(("sbom",), "ANY"), [f"sbom {status}" for status in STATUSES]),
        (ReferrerFilter(("sbom", "signature"), "ACTIVATING"), ["sbom ACTIVATING", "signature ACTIVATING"]),
        (ReferrerFilter(()), []),
    ],
)
def test_referrers_are_of_a_status_and_of_types(images, wanted, digests):
    assert [image.digest for image in images.referrers(1, SUBJECT, wanted, 0, 10)] == digests


def test_a_page_begins_past_an_image(images):
    everything = ReferrerFilter(status="ANY")
    found = images.referrers(1, SUBJECT, everything, 0, 10)
    assert images.referrers(1, SUBJECT, everything, found[1].id, 3) == found[2:5]


def test_referrers_are_found_by_an_index_in_their_order(connection, images):
    statements: list[str] = []
    connection.set_trace_callback(statements.append)
    images.referrers(1, SUBJECT, ReferrerFilter(("sbom",)), 0, 10)
    connection.set_trace_callback(None)
    plan = " ".join(row["detail"] for row in connection.execute(f"EXPLAIN QUERY PLAN {statements[-1]}"))
    assert "images_by_subject" in plan
    assert "B-TREE" not in plan
