"""Measure what scripts/scale_model.py starts from: python -m scripts.measure_scale DATABASE_URL.

The database is an empty one of PostgreSQL, on this machine; it is filled with images, a thousand to each
repository. What is measured in seconds is processor time, of this process and of PostgreSQL's, to which other
work on the machine adds little.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http.client
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import psutil
import psycopg

from ecr_emulator.core import lifecycle
from ecr_emulator.core.lifecycle_runs import images_of
from ecr_emulator.metadata.postgresql import PostgresMetadata
from ecr_emulator.metadata.store import Transaction
from scripts.benchmarks import fill

IMAGES_OF_EACH = 1000
REPOSITORIES = 10
# More of them, for the size of their rows.
EMPTY_REPOSITORIES = 10_000
TABLES = ("repositories", "images", "manifests", "layers", "blobs", "tags")
PULLS = 2000
PAGE = 500  # rows of one transaction of garbage collection
POLICY = json.dumps(
    {
        "rules": [
            {
                "rulePriority": 1,
                "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 990},
                "action": {"type": "expire"},
            }
        ]
    }
)


def main(url: str) -> None:
    """Print the figures as JSON."""
    asyncio.run(fill.main(url, REPOSITORIES, IMAGES_OF_EACH))
    asyncio.run(_add_empty_repositories(url))
    with psycopg.connect(url, autocommit=True) as connection:
        # Each image has counted in the rows of its repository and its layers: old versions are no measure.
        connection.execute("VACUUM FULL repositories")
        connection.execute("VACUUM FULL layers")
        connection.execute("VACUUM ANALYZE")
        sizes = {table: _size(connection, table) for table in TABLES}
        database = psutil.Process(connection.info.backend_pid).parent()
        assert database is not None
    figures = {
        "images": REPOSITORIES * IMAGES_OF_EACH,
        "bytes_of_row": sizes,
        **asyncio.run(_engines(url, database)),
        **_pulls(url, database),
    }
    print(json.dumps(figures, indent=2))


async def _add_empty_repositories(url: str) -> None:
    metadata = PostgresMetadata(url)
    try:
        await metadata.write(
            lambda tx: [fill.create(tx, f"empty/{number}") for number in range(EMPTY_REPOSITORIES)]
        )
    finally:
        await metadata.close()


def _size(connection: psycopg.Connection[Any], table: str) -> dict[str, float]:
    row = connection.execute(
        f"SELECT count(*), pg_table_size('{table}'), pg_indexes_size('{table}') FROM {table}"
    ).fetchone()
    assert row is not None
    count, table_size, index_size = row
    return {"table": round(table_size / count, 1), "indexes": round(index_size / count, 1)}


async def _engines(url: str, database: psutil.Process) -> dict[str, float]:
    """Return seconds of processor time, of garbage collection and of lifecycle policies."""
    metadata = PostgresMetadata(url)
    try:
        layers = await _each(metadata, database, _scan_layers)
        blobs = await _each(metadata, database, _scan_blobs)
        names = await _each(metadata, database, _look_up_names)
        with _processor_time(database) as policy:
            for repository_id in range(1, 11):
                images = await metadata.read(images_of, repository_id, fill.NOW)
                lifecycle.evaluate(
                    lifecycle.parse(POLICY), images.values(), datetime.fromtimestamp(fill.NOW, UTC)
                )
        return {
            "seconds_of_layer_scanned": layers,
            "seconds_of_blob_scanned": blobs,
            "seconds_of_name_looked_up": names,
            "seconds_of_image_in_lifecycle": round(policy() / 10 / IMAGES_OF_EACH, 7),
        }
    finally:
        await metadata.close()


async def _each(
    metadata: PostgresMetadata, database: psutil.Process, page: Callable[[Transaction, Any], tuple[int, Any]]
) -> float:
    done, last = 0, None
    with _processor_time(database) as seconds:
        while done < 100 * PAGE:
            count, last = await metadata.read(page, last)
            done += count
            if count < PAGE:
                break
    return round(seconds() / done, 7)


def _scan_layers(tx: Transaction, last: Any) -> tuple[int, Any]:
    rows = tx.layers.scan(fill.NOW + 1, last or 0, PAGE)
    return len(rows), rows[-1][0] if rows else None


def _scan_blobs(tx: Transaction, last: Any) -> tuple[int, Any]:
    _, last_id = tx.blobs.scan_unused(last or 0, PAGE)
    return (PAGE, last_id) if last_id else (0, None)


def _look_up_names(tx: Transaction, last: Any) -> tuple[int, Any]:
    blobs = tx.blobs.page(last or 0, PAGE)
    tx.blobs.known([blob.name for blob in blobs])
    return len(blobs), blobs[-1].id if blobs else None


def _pulls(url: str, database: psutil.Process) -> dict[str, float]:
    """Return seconds of processor time that the pull of a manifest with a token takes."""
    command = [sys.executable, "-m", "ecr_emulator", "serve", "--port", "0", "--data-dir", ":memory:"]
    options = {"AUTH": "token", "METADATA_URL": url, "ENGINES": "off"}
    env = {**os.environ, **{f"ECR_EMULATOR_{name}": value for name, value in options.items()}}
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            listening = (re.search(r"listening on .*:(\d+),", line) for line in server.stderr)
            port = next(int(found[1]) for found in listening if found)
            # Requests are logged, and nobody may let the pipe run full.
            threading.Thread(target=server.stderr.read, daemon=True).start()
            connection = http.client.HTTPConnection("127.0.0.1", port)
            token = _token(connection)
            headers = {"Authorization": f"Basic {token}"}
            process = psutil.Process(server.pid)
            before = sum(process.cpu_times()[:2])
            with _processor_time(database, own=False) as in_database:
                for number in range(PULLS):
                    path = f"/v2/fill/{number % REPOSITORIES:03}/manifests/image-{number % IMAGES_OF_EACH}"
                    connection.request("GET", path, headers=headers)
                    answer = connection.getresponse()
                    answer.read()
                    assert answer.status == 200, answer.status
            return {
                "seconds_of_pull_in_server": round((sum(process.cpu_times()[:2]) - before) / PULLS, 6),
                "seconds_of_pull_in_database": round(in_database() / PULLS, 6),
            }
        finally:
            server.terminate()


def _token(connection: http.client.HTTPConnection) -> str:
    target = {"X-Amz-Target": "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken"}
    connection.request("POST", "/", "{}", target)
    token = json.loads(connection.getresponse().read())["authorizationData"][0]["authorizationToken"]
    assert base64.b64decode(token).startswith(b"AWS:")
    return str(token)


@contextlib.contextmanager
def _processor_time(database: psutil.Process, *, own: bool = True) -> Iterator[Callable[[], float]]:
    """Give a function that tells what the block took PostgreSQL's backends and, if ``own``, this process."""

    def now() -> dict[int, float]:
        times = {}
        for process in database.children():
            # Workers of autovacuum come and go.
            with contextlib.suppress(psutil.NoSuchProcess):
                if "autovacuum" not in str(process.cmdline()):
                    times[process.pid] = sum(process.cpu_times()[:2])
        return times | ({0: time.process_time()} if own else {})

    before, after = now(), dict[int, float]()
    yield lambda: sum(taken - before.get(pid, 0.0) for pid, taken in after.items())
    after |= now()


if __name__ == "__main__":
    main(sys.argv[1])
