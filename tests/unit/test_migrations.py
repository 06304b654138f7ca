"""Migrations: in order, whole or not at all, and never backwards."""

import sqlite3

import pytest

from ecr_emulator.metadata import sqlite
from ecr_emulator.metadata.sqlite import SchemaTooNewError, migrate, migrations


@pytest.fixture
def connection():
    with sqlite3.connect(":memory:", isolation_level=None) as connection:
        yield connection
    connection.close()


def version(connection):
    return connection.execute("PRAGMA user_version").fetchone()[0]


def migrate_to(connection, monkeypatch, number):
    """Bring a database to an older schema."""
    with monkeypatch.context() as patch:
        steps = migrations()[:number]
        patch.setattr(sqlite, "migrations", lambda: steps)
        migrate(connection)


def add_repository(connection, name, lifecycle_policy_text=None):
    connection.execute(
        "INSERT INTO repositories (account, region, name, created_at, tag_mutability, tag_exclusions,"
        " scan_on_push, encryption_type, lifecycle_policy_text)"
        " VALUES ('000000000000', 'us-east-1', ?, 0, 'MUTABLE', '[]', 0, 'AES256', ?)",
        (name, lifecycle_policy_text),
    )


def test_migrations_are_numbered_without_gaps():
    assert [number for number, _ in migrations()] == list(range(1, len(migrations()) + 1))


def test_an_empty_database_gets_the_newest_schema_once(connection):
    migrate(connection)
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    migrate(connection)
    assert version(connection) == len(migrations())
    assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == tables


def test_a_migration_that_fails_leaves_nothing(connection, monkeypatch):
    migrate(connection)
    newest = len(migrations())
    steps = [*migrations(), (newest + 1, "CREATE TABLE half (a);\nCREATE TABLE half (a);")]
    monkeypatch.setattr(sqlite, "migrations", lambda: steps)
    with pytest.raises(sqlite3.OperationalError):
        migrate(connection)
    assert version(connection) == newest
    assert connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'half'").fetchone() == (0,)


def test_migrations_are_one_commit(connection):
    statements = []
    connection.set_trace_callback(statements.append)
    migrate(connection)
    assert [each.strip() for each in statements if each.strip() in ("BEGIN IMMEDIATE;", "COMMIT;")] == [
        "BEGIN IMMEDIATE;",
        "COMMIT;",
    ]


def test_a_database_of_a_newer_program_is_left_alone(connection):
    migrate(connection)
    connection.execute("PRAGMA user_version = 999")
    with pytest.raises(SchemaTooNewError, match="the database has schema 999"):
        migrate(connection)


def test_lifecycle_policies_that_are_there_become_due(connection, monkeypatch):
    migrate_to(connection, monkeypatch, 2)
    for name, text in (("with", "{}"), ("without", None)):
        add_repository(connection, name, text)
    migrate(connection)
    rows = connection.execute("SELECT name, lifecycle_due_at FROM repositories ORDER BY id").fetchall()
    assert rows == [("with", 0.0), ("without", None)]


def test_layers_that_are_there_keep_their_blobs_under_the_names_they_had(connection, monkeypatch):
    migrate_to(connection, monkeypatch, 12)
    for name in ("app", "base"):
        add_repository(connection, name)
    for row in ((1, "sha256:abcd", 5, 1.5), (1, "sha512:ef01", 6, 2.5), (2, "sha256:abcd", 5, 3.5)):
        connection.execute(
            "INSERT INTO layers (repository_id, digest, size, touched_at) VALUES (?, ?, ?, ?)", row
        )
    migrate(connection)
    rows = connection.execute(
        "SELECT repository_id, layers.digest, name, layers.size, touched_at FROM layers"
        " JOIN blobs ON blobs.id = layers.blob_id ORDER BY repository_id, layers.digest"
    ).fetchall()
    assert rows == [
        (1, "sha256:abcd", "sha256/ab/abcd", 5, 1.5),
        (1, "sha512:ef01", "sha512/ef/ef01", 6, 2.5),
        (2, "sha256:abcd", "sha256/ab/abcd", 5, 3.5),
    ]


def test_layers_count_the_images_that_named_them(connection, monkeypatch):
    migrate_to(connection, monkeypatch, 15)
    for name in ("app", "base"):
        add_repository(connection, name)
    for blob_id, digest in enumerate(("shared", "unused"), 1):
        connection.execute(
            "INSERT INTO blobs VALUES (?, ?, '', ?, ?)", (blob_id, digest, digest, blob_id * 5)
        )
    for row in ((1, "shared", 1, 1.5), (1, "unused", 2, 2.5), (2, "shared", 1, 3.5)):
        connection.execute("INSERT INTO layers VALUES (?, ?, ?, ?)", row)
    for image_id, status in enumerate(("ACTIVE", "ARCHIVED", "ACTIVE"), 1):
        connection.execute(
            "INSERT INTO images (id, repository_id, digest, media_type, manifest_size, size, pushed_at,"
            f" status) VALUES ({image_id}, 1, 'image {image_id}', '', 0, 0, 0, '{status}')"
        )
    for row in (
        (1, "layer", "shared"),
        (2, "layer", "shared"),
        (2, "layer", "absent"),
        (3, "image", "image 1"),
    ):
        connection.execute("INSERT INTO image_references VALUES (?, 1, ?, ?, 'gzip')", row)
    migrate(connection)
    layers = connection.execute(
        "SELECT repository_id, digest, blob_id, size, media_type, image_count, active_image_count, touched_at"
        " FROM layers ORDER BY repository_id, digest"
    ).fetchall()
    assert layers == [
        (1, "absent", None, None, "gzip", 1, 0, 0.0),
        (1, "shared", 1, 5, "gzip", 2, 1, 1.5),
        (1, "unused", 2, 10, None, 0, 0, 2.5),
        (2, "shared", 1, 5, None, 0, 0, 3.5),
    ]
    assert connection.execute("SELECT * FROM index_children").fetchall() == [(3, "image 1", 1)]
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
