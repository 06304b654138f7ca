"""What a million repositories with a billion images would take: the tables of docs/scale.md.

    python -m scripts.scale_model

Arithmetic over what scripts/measure_scale.py measured, which is in scripts/scale_measured.json, and over
assumptions, which are written down here.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

MEASURED = Path(__file__).with_name("scale_measured.json")

GIB = 1024**3
TIB = 1024**4
HOUR = 3600.0
DAY = 24 * HOUR


@dataclass(frozen=True)
class Measured:
    """What was measured on a filled store; sizes in bytes, durations in seconds of one processor."""

    images: int
    bytes_of_row: dict[str, dict[str, float]]  # table -> {"table", "indexes"}
    seconds_of_layer_scanned: float
    seconds_of_blob_scanned: float
    seconds_of_name_looked_up: float
    seconds_of_image_in_lifecycle: float
    seconds_of_pull_in_server: float
    seconds_of_pull_in_database: float


@dataclass(frozen=True)
class Assumed:
    """What can't be measured here."""

    repositories: int = 1_000_000
    images: int = 1_000_000_000
    blobs_per_image: float = 2  # a config and a layer that no other image has
    shared_layers_per_repository: float = 4
    hot: float = 0.01  # of the images, those that are pulled or pushed within a day
    keys_per_listing: int = 1000  # the most that S3 gives at once
    seconds_of_listing: float = 0.1  # a typical answer of S3
    dollars_of_listing: float = 0.005 / 1000  # S3 Standard, us-east-1
    pushes_per_second: float = 335  # of metadata, by 16 writers on two processors: docs/architecture.md
    days_kept: float = 365  # of an image, after which another takes its place
    calls_per_image: float = 20  # those of its push, and of its pulls
    bytes_of_event: int = 550  # of a push, as /_emulator/events has it
    bytes_of_audit_record: int = 1400  # the mean of a push's and a pull's, as /_emulator/audit has them
    busy: float = 0.7  # of a processor, so that requests need not wait long
    database_memory: float = 1 * TIB  # the largest machine that one would rent for it
    database_connections: int = 2000
    connections_per_server: int = 13
    page: int = 8192  # PostgreSQL's


def rows(assumed: Assumed) -> dict[str, float]:
    """Return how many rows each table has."""
    unique = assumed.images * assumed.blobs_per_image
    return {
        "repositories": assumed.repositories,
        "images": assumed.images,
        "manifests": assumed.images,
        "layers": unique + assumed.repositories * assumed.shared_layers_per_repository,
        "blobs": unique,
        "tags": assumed.images,
    }


def sizes(measured: Measured, assumed: Assumed) -> dict[str, tuple[float, float]]:
    """Return the bytes of each table and of its indexes."""
    return {
        table: (
            count * measured.bytes_of_row[table]["table"],
            count * measured.bytes_of_row[table]["indexes"],
        )
        for table, count in rows(assumed).items()
    }


def hot_bytes(measured: Measured, assumed: Assumed) -> tuple[float, float]:
    """Return the least and the most memory in which the rows of hot images fit.

    The least is where they lie together, as those that were pushed together do. The most is where each row
    and each entry of an index is on a page that nothing else hot is on, as digests scatter them.
    """
    total = sum(map(sum, sizes(measured, assumed).values()))
    least = total * assumed.hot
    entries = 2 * sum(rows(assumed).values()) * assumed.hot
    return least, min(total, entries * assumed.page)


def servers(measured: Measured, assumed: Assumed, pulls_per_second: float) -> tuple[int, float]:
    """Return how many servers of one processor pulls of manifests need, and processors of the database."""
    return (
        math.ceil(pulls_per_second * measured.seconds_of_pull_in_server / assumed.busy),
        pulls_per_second * measured.seconds_of_pull_in_database / assumed.busy,
    )


def most_servers(assumed: Assumed) -> int:
    """Return how many servers the database's connections are enough for."""
    return assumed.database_connections // assumed.connections_per_server


def collection(measured: Measured, assumed: Assumed) -> dict[str, float]:
    """Return the seconds that each part of one garbage collection takes, which one server does."""
    count = rows(assumed)
    return {
        "layers": count["layers"] * measured.seconds_of_layer_scanned,
        "blobs": count["blobs"] * measured.seconds_of_blob_scanned,
        "names": count["blobs"] * measured.seconds_of_name_looked_up,
        "listing": count["blobs"] / assumed.keys_per_listing * assumed.seconds_of_listing,
    }


def listing_dollars(assumed: Assumed) -> float:
    """Return what S3 asks for listing all blobs once."""
    return rows(assumed)["blobs"] / assumed.keys_per_listing * assumed.dollars_of_listing


def lifecycle_seconds(measured: Measured, assumed: Assumed) -> float:
    """Return the seconds in which one server evaluates a policy of every repository."""
    return assumed.images * measured.seconds_of_image_in_lifecycle


def daily(assumed: Assumed) -> dict[str, float]:
    """Return how many pushes a day brings, and the bytes of what is told of them."""
    pushes = assumed.images / assumed.days_kept
    return {
        "pushes": pushes,
        "events": pushes * assumed.bytes_of_event,
        "audit": pushes * assumed.calls_per_image * assumed.bytes_of_audit_record,
    }


def limits(measured: Measured, assumed: Assumed) -> list[tuple[str, float]]:
    """Return at how many images, of as many per repository, what no longer keeps up; the first first."""
    images = assumed.images
    collected = sum(collection(measured, assumed).values())
    least, most = hot_bytes(measured, assumed)
    return sorted(
        [
            ("garbage collection takes longer than the hour between two", images * HOUR / collected),
            (
                "lifecycle policies take longer than the day in which they are due",
                images * DAY / lifecycle_seconds(measured, assumed),
            ),
            (
                "hot rows that are scattered do not fit the database's memory",
                images * assumed.database_memory / most,
            ),
            ("hot rows that lie together do not fit it either", images * assumed.database_memory / least),
        ],
        key=lambda limit: limit[1],
    )


def report(measured: Measured, assumed: Assumed) -> str:
    """Return the tables of docs/scale.md, in Markdown."""
    lines = ["| table | rows | bytes a row | of indexes | TiB |", "|---|---|---|---|---|"]
    by_table, count = sizes(measured, assumed), rows(assumed)
    for table, (content, indexes) in by_table.items():
        row = measured.bytes_of_row[table]
        lines.append(
            f"| `{table}` | {_count(count[table])} | {row['table']:.0f} | {row['indexes']:.0f} |"
            f" {(content + indexes) / TIB:.2f} |"
        )
    content, indexes = (sum(part) for part in zip(*by_table.values(), strict=True))
    lines.append(f"| all | | | {indexes / TIB:.2f} TiB | {(content + indexes) / TIB:.2f} |")
    least, most = hot_bytes(measured, assumed)
    lines += [
        "",
        f"Memory for the {assumed.hot:.0%} of images that are hot: {least / GIB:,.0f} GiB where they lie"
        f" together, at most {most / GIB:,.0f} GiB.",
        "",
        "| pulls of manifests a second | servers of one processor | processors of PostgreSQL |",
        "|---|---|---|",
    ]
    for load in (100, 1_000, 10_000, 100_000):
        number, processors = servers(measured, assumed, load)
        lines.append(f"| {load:,} | {number:,} | {max(processors, 0.1):,.1f} |")
    lines += [
        "",
        f"{assumed.database_connections:,} connections to PostgreSQL are enough for"
        f" {most_servers(assumed)} servers.",
    ]
    day = daily(assumed)
    lines += ["", "| what one server does alone | takes |", "|---|---|"]
    names = {
        "layers": "garbage: look for layers without an image",
        "blobs": "garbage: look for blobs without a layer",
        "names": "garbage: look up the names in S3",
        "listing": f"garbage: list S3, {assumed.keys_per_listing} names in {assumed.seconds_of_listing} s",
    }
    lines += [
        f"| {names[part]} | {_time(seconds)} |" for part, seconds in collection(measured, assumed).items()
    ]
    lines += [
        f"| lifecycle policies of {_count(assumed.repositories)} repositories |"
        f" {_time(lifecycle_seconds(measured, assumed))} |",
        f"| {_count(assumed.images)} pushes, at {assumed.pushes_per_second:.0f} a second |"
        f" {_time(assumed.images / assumed.pushes_per_second)} |",
        "",
        f"Listing S3 once costs ${listing_dollars(assumed):,.2f}, every hour"
        f" ${listing_dollars(assumed) * 24 * 30:,.0f} a month.",
        "",
        "| a day | |",
        "|---|---|",
        f"| pushes, where an image is kept for {assumed.days_kept:.0f} days | {_count(day['pushes'])},"
        f" {day['pushes'] / DAY:.0f} a second |",
        f"| events to each sink | {day['events'] / GIB:.1f} GiB |",
        f"| audit trail, {assumed.calls_per_image} calls for each image | {day['audit'] / GIB:.0f} GiB |",
        "",
        "| images | from there on |",
        "|---|---|",
    ]
    lines += [f"| {_count(number)} | {what} |" for what, number in limits(measured, assumed)]
    return "\n".join(lines)


def _count(number: float) -> str:
    """Return a number in the words of people: 1.2 million."""
    for unit, name in ((1e9, "billion"), (1e6, "million")):
        if number >= unit:
            return f"{number / unit:,.3g} {name}"
    return f"{number:,.0f}"


def _time(seconds: float) -> str:
    for unit, name in ((DAY, "days"), (HOUR, "hours"), (60.0, "minutes")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:,.1f} {name}"
    return f"{seconds:.0f} s"


if __name__ == "__main__":
    print(report(Measured(**json.loads(MEASURED.read_text())), Assumed()))
