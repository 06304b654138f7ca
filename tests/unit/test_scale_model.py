"""The arithmetic of scripts/scale_model.py, on figures that are easily multiplied."""

import json
from dataclasses import fields, replace

import pytest

from scripts import scale_model
from scripts.scale_model import DAY, HOUR, MEASURED, Assumed, Measured
from tests.serving import ROOT

TABLES = ("repositories", "images", "manifests", "layers", "blobs", "tags")
ROUND = Measured(
    images=1000,
    bytes_of_row={table: {"table": 100, "indexes": 50} for table in TABLES},
    seconds_of_layer_scanned=1e-5,
    seconds_of_blob_scanned=2e-5,
    seconds_of_name_looked_up=3e-5,
    seconds_of_image_in_lifecycle=1e-4,
    seconds_of_pull_in_server=1e-3,
    seconds_of_pull_in_database=1e-4,
)
SMALL = Assumed(repositories=10, images=1000, busy=0.5)


def test_rows_follow_from_images_and_repositories():
    assert scale_model.rows(SMALL) == {
        "repositories": 10,
        "images": 1000,
        "manifests": 1000,
        "layers": 2040,
        "blobs": 2000,
        "tags": 1000,
    }


def test_sizes_are_rows_times_their_bytes():
    sizes = scale_model.sizes(ROUND, SMALL)
    assert sizes["tags"] == (100_000, 50_000)
    assert sizes["layers"] == (204_000, 102_000)


def test_hot_rows_need_a_page_each_at_most():
    total = 7_050 * 150
    assert scale_model.hot_bytes(ROUND, SMALL) == (pytest.approx(total * 0.01), total)
    wide = replace(SMALL, hot=0.0001)
    assert scale_model.hot_bytes(ROUND, wide)[1] == pytest.approx(2 * 7_050 * 0.0001 * 8192)


def test_servers_are_as_many_as_their_processors_are_busy():
    number, processors = scale_model.servers(ROUND, SMALL, 10_000)
    assert number == 20
    assert processors == pytest.approx(2)
    assert scale_model.most_servers(replace(SMALL, database_connections=100, connections_per_server=13)) == 7


def test_a_collection_looks_at_each_layer_blob_and_name_and_lists_all():
    parts = scale_model.collection(ROUND, SMALL)
    assert parts == pytest.approx({"layers": 0.0204, "blobs": 0.04, "names": 0.06, "listing": 0.2})
    assert scale_model.listing_dollars(SMALL) == pytest.approx(2 * 0.005 / 1000)


def test_a_day_brings_its_share_of_the_images():
    day = scale_model.daily(replace(SMALL, images=3650, bytes_of_event=100, bytes_of_audit_record=10))
    assert day == {"pushes": 10, "events": 1000, "audit": 2000}


def test_limits_are_where_the_work_fills_its_time_and_come_in_their_order():
    limits = scale_model.limits(ROUND, SMALL)
    numbers = [number for _, number in limits]
    assert numbers == sorted(numbers)
    by_name = dict(limits)
    [lifecycle] = [number for name, number in by_name.items() if "lifecycle" in name]
    assert lifecycle == pytest.approx(DAY / 1e-4)
    [garbage] = [number for name, number in by_name.items() if "garbage" in name]
    assert garbage == pytest.approx(1000 * HOUR / 0.3204)


def test_the_document_has_what_the_model_says():
    measured = Measured(**json.loads(MEASURED.read_text()))
    assert set(measured.bytes_of_row) == set(TABLES)
    assert all(getattr(measured, field.name) for field in fields(measured))
    assert scale_model.report(measured, Assumed()) in (ROOT / "docs" / "scale.md").read_text()
