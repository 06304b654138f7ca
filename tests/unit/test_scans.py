"""Scans of images that are archived, for which no operation is needed here."""

import sqlite3

import pytest

from ecr_emulator.core import errors, scans
from ecr_emulator.core.call import Call
from ecr_emulator.core.images import ImageId
from ecr_emulator.core.registry import Registry
from ecr_emulator.metadata.images import Image
from ecr_emulator.metadata.sqlite import SqliteDatabase, migrate
from ecr_emulator.metadata.store import Transaction

DIGEST = "sha256:" + "a" * 64
CALL = Call(
    Registry("000000000000", "us-east-1"), "caller", 1000.0, "id", "http://here", False, lambda _: "here"
)


@pytest.fixture
def database():
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection)
    yield SqliteDatabase(connection)
    connection.close()


@pytest.fixture
def tx(database):
    """A transaction in which there is the image app:v1."""
    tx = Transaction(database)
    repository = tx.repositories.insert(
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
    config = "application/vnd.oci.image.config.v1+json"
    image = Image(0, repository.id, DIGEST, "m", config, config, None, None, 1, 1, 0.0, None)
    tx.tags.put(repository.id, "v1", tx.images.insert(image, b"{}"))
    return tx


def archive(database):
    database.run("UPDATE images SET status = 'ARCHIVED'")


def test_an_archived_image_can_not_be_scanned(tx, database):
    archive(database)
    with pytest.raises(errors.ImageArchivedException) as raised:
        scans.start(tx, CALL, "app", ImageId(tag="v1"))
    assert raised.value.message == (
        "The image with imageId {imageDigest:null, imageTag:'v1'} within the repository with name 'app' in the "
        "registry with id '000000000000' is archived and cannot be scanned"
    )
    assert tx.tasks.due("scans", 9e9, 9) == []


def test_an_image_that_is_archived_shows_no_findings(tx, database):
    image = scans.start(tx, CALL, "app", ImageId(tag="v1"))
    archive(database)
    described = scans.describe(tx, CALL, "app", ImageId(digest=image.digest), 0, 10)
    assert (described.shown.status, described.findings) == ("IMAGE_ARCHIVED", [])
