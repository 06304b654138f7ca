"""Replication rules: which repositories they select, and where these go."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecr_emulator.core.registry import Registry
from ecr_emulator.core.replication import destinations

WEST = {"registryId": "111122223333", "region": "us-west-2"}
SOUTH = {"registryId": "111122223333", "region": "sa-east-1"}
OTHER = {"registryId": "444455556666", "region": "us-east-1"}


def rule(*targets: dict[str, str], prefixes: tuple[str, ...] = (), **members: Any) -> dict[str, Any]:
    """Return a rule as the API takes it."""
    filters = [{"filter": prefix, "filterType": "PREFIX_MATCH"} for prefix in prefixes]
    return {"destinations": list(targets), **({"repositoryFilters": filters} if filters else {}), **members}


def registries(*targets: dict[str, str]) -> list[Registry]:
    """Return destinations as the rules' reader does."""
    return [Registry(target["registryId"], target["region"]) for target in targets]


@pytest.mark.parametrize(
    ("rules", "name", "expected"),
    [
        ([], "app", []),
        ([rule()], "app", []),
        ([rule(WEST, OTHER)], "app", [WEST, OTHER]),
        ([rule(WEST, prefixes=("prod",))], "prod/web", [WEST]),
        ([rule(WEST, prefixes=("prod",))], "production", [WEST]),
        ([rule(WEST, prefixes=("prod/",))], "production", []),
        ([rule(WEST, prefixes=("prod",))], "team/prod", []),
        ([rule(WEST, prefixes=("test", "prod"))], "prod", [WEST]),
        ([rule(WEST, prefixes=("test",)), rule(SOUTH, WEST)], "test", [WEST, SOUTH]),
        ([rule(WEST, prefixes=("test",)), rule(SOUTH, WEST)], "app", [SOUTH, WEST]),
    ],
)
def test_where_a_repository_goes(rules, name, expected):
    assert destinations(rules, name) == registries(*expected)


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([rule(WEST)], []),
        ([rule(WEST, deleteReplication={"enabled": False})], []),
        ([rule(WEST, deleteReplication={"enabled": True})], [WEST]),
        # Of several rules for a destination one is enough.
        ([rule(WEST, SOUTH), rule(WEST, deleteReplication={"enabled": True})], [WEST]),
        ([rule(WEST, prefixes=("prod",), deleteReplication={"enabled": True})], []),
    ],
)
def test_where_a_deletion_goes(rules, expected):
    assert destinations(rules, "app", of_deletions=True) == registries(*expected)


names = st.from_regex(r"[a-c]{2,4}(/[a-c]{1,3})?", fullmatch=True)
rules = st.lists(
    st.builds(
        lambda targets, prefixes, enabled: rule(
            *targets, prefixes=tuple(prefixes), deleteReplication={"enabled": enabled}
        ),
        st.lists(st.sampled_from([WEST, SOUTH, OTHER]), max_size=3),
        st.lists(names, max_size=2),
        st.booleans(),
    ),
    max_size=4,
)


@given(rules, rules, names)
def test_a_further_rule_only_adds_destinations(some, more, name):
    found = destinations(some, name)
    assert len(set(found)) == len(found)
    assert set(destinations([*some, *more], name)) == {*found, *destinations(more, name)}


@given(rules, names)
def test_deletions_go_nowhere_but_where_pushes_go(some, name):
    assert set(destinations(some, name, of_deletions=True)) <= set(destinations(some, name))
