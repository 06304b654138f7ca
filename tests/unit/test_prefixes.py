"""Prefixes: which repositories they hold for, and which of several is closest."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecr_emulator.core.prefixes import ROOT, closest, normalize, prefixes_of


@dataclass(frozen=True)
class Candidate:
    prefix: str


@pytest.mark.parametrize(
    ("name", "prefixes"),
    [
        ("app", [ROOT]),
        ("prod/app", ["prod", ROOT]),
        ("prod/team/app", ["prod/team", "prod", ROOT]),
    ],
)
def test_a_prefix_ends_where_a_segment_of_the_name_does(name, prefixes):
    assert prefixes_of(name) == prefixes


@pytest.mark.parametrize(
    ("prefixes", "name", "chosen"),
    [
        (["prod", "prod/team"], "prod/team/app", "prod/team"),
        (["prod/team", "prod"], "prod/other/app", "prod"),
        (["prod"], "prod", None),
        (["prod"], "production/app", None),
        ([ROOT, "prod"], "prod/app", "prod"),
        ([ROOT, "prod"], "test/app", ROOT),
        ([ROOT], "app", ROOT),
        ([], "prod/app", None),
    ],
)
def test_the_longest_prefix_wins_and_root_comes_last(prefixes, name, chosen):
    found = closest(map(Candidate, prefixes), name)
    assert (found and found.prefix) == chosen


SEGMENT = st.text("ab", min_size=1, max_size=2)
NAME = st.lists(SEGMENT, min_size=1, max_size=4).map("/".join)


@given(st.sets(NAME | st.just(ROOT), max_size=6), NAME)
def test_what_is_chosen_is_the_longest_that_the_name_begins_with(prefixes, name):
    found = closest(map(Candidate, prefixes), name)
    fitting = {prefix for prefix in prefixes if name.startswith(f"{prefix}/")}
    wanted = max(fitting, key=len, default=ROOT if ROOT in prefixes else None)
    assert (found and found.prefix) == wanted


def test_a_slash_at_the_end_means_nothing():
    assert (normalize("prod/"), normalize("prod/team"), normalize(ROOT)) == ("prod", "prod/team", ROOT)
