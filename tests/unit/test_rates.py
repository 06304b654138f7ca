"""Buckets of credits for requests."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecr_emulator.core.errors import ThrottlingException
from ecr_emulator.core.rates import Rates
from ecr_emulator.core.registry import Registry
from ecr_emulator.settings import Settings, SettingsError, load

HOME, AWAY = Registry("000000000000", "us-east-1"), Registry("000000000000", "eu-west-1")


def passes(rates: Rates, now: float, *operations: str, registry: Registry = HOME) -> bool:
    try:
        rates.spend(registry, operations or ("PutImage",), now)
    except ThrottlingException:
        return False
    return True


def test_a_bucket_is_emptied_and_fills_up_within_a_second() -> None:
    rates = Rates({"PutImage": 4})
    assert [passes(rates, 100.0) for _ in range(5)] == [True] * 4 + [False]
    assert [passes(rates, 100.25) for _ in range(2)] == [True, False]
    # What is refused costs nothing, and no more is saved up than a bucket holds.
    assert [passes(rates, 200.0) for _ in range(5)] == [True] * 4 + [False]


def test_a_clock_that_is_put_back_keeps_nobody_waiting_for_longer() -> None:
    rates = Rates({"PutImage": 1})
    assert [passes(rates, 1000.0), passes(rates, 0.0), passes(rates, 1.0)] == [True, False, True]


def test_buckets_can_be_filled_at_once() -> None:
    rates = Rates({"PutImage": 1})
    assert passes(rates, 0.0)
    rates.refill()
    assert passes(rates, 0.0)


def test_each_operation_in_each_registry_has_a_bucket() -> None:
    rates = Rates({"PutImage": 1, "ListImages": 1})
    for registry in (HOME, AWAY):
        for operation in ("PutImage", "ListImages"):
            assert passes(rates, 0.0, operation, registry=registry)
            assert not passes(rates, 0.0, operation, registry=registry)


def test_buckets_that_are_full_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ecr_emulator.core.rates._MAX_BUCKETS", 10)
    rates = Rates({"PutImage": 1})
    for number in range(100):
        assert passes(rates, float(number), registry=Registry(f"{number:012}", "us-east-1"))
    assert len(rates._buckets) <= 10
    assert not passes(rates, 99.5, registry=Registry(f"{99:012}", "us-east-1"))


def test_operations_without_a_rate_are_not_counted() -> None:
    rates = Rates({"PutImage": 1})
    assert all(passes(rates, 0.0, "ListImages") for _ in range(100))


def test_a_request_that_is_several_takes_all_credits_or_none() -> None:
    rates = Rates({"UploadLayerPart": 5, "CompleteLayerUpload": 1})
    steps = ("UploadLayerPart", "CompleteLayerUpload")
    assert [passes(rates, 0.0, *steps) for _ in range(9)] == [True] + [False] * 8
    assert [passes(rates, 0.0, "UploadLayerPart") for _ in range(5)] == [True] * 4 + [False]


@given(st.lists(st.floats(0, 10), max_size=200), st.integers(1, 5))
def test_no_more_pass_than_the_rate_whatever_the_clock_does(moments: list[float], limit: int) -> None:
    rates = Rates({"PutImage": limit})
    passed = sum(passes(rates, now) for now in moments)
    forward = sum(max(0.0, after - before) for before, after in pairwise(moments))
    assert passed <= limit * (1 + forward) + 1e-6


def test_rates_are_read_from_text_and_have_to_be_whole_numbers() -> None:
    assert load({"rates": "PutImage=5, ListImages=6"}, {}).rates == {"PutImage": 5, "ListImages": 6}
    with pytest.raises(SettingsError, match="rates must have a whole number of at least 1 for PutImage"):
        Settings(rates={"PutImage": 0})
