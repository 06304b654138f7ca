"""Names: repositories, tags and the filters that match them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecr_emulator.control import model
from ecr_emulator.core.names import is_repository_name, is_tag, matches_wildcard


@pytest.mark.parametrize("name", ["ab", "a-b", "a--b", "a__b", "a.b/c_d", "tags/blobs/manifests", "a" * 256])
def test_repository_names(name):
    assert is_repository_name(name)


@pytest.mark.parametrize(
    "name", ["", "a", "A", "a/", "/a", "a//b", "a..b", "a/../b", "-ab", "ab-", "a___b", "a b", "ä", "a" * 257]
)
def test_no_repository_names(name):
    assert not is_repository_name(name)


@given(st.from_regex(re.compile(model.shape("RepositoryName")["pattern"]), fullmatch=True))
def test_the_grammar_is_that_of_the_model(name):
    assert is_repository_name(name) == (2 <= len(name) <= 256)


@pytest.mark.parametrize("tag", ["v1", "_", "A.b-c_1", "a" * 128])
def test_tags(tag):
    assert is_tag(tag)


@pytest.mark.parametrize("tag", ["", ".a", "-a", "a/b", "a:b", "a b", "ü", "a\n", "a" * 129])
def test_no_tags(tag):
    assert not is_tag(tag)


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("v1", "v1", True),
        ("v1", "v10", False),
        ("v*", "v", True),
        ("*-rc", "1-rc", True),
        ("a*c", "abc", True),
        ("a*c", "abd", False),
        ("a.c", "abc", False),
        ("*", "", True),
        ("latest*", "prelatest", False),
    ],
)
def test_wildcards_stand_for_any_characters_and_the_rest_for_itself(pattern, text, matches):
    assert matches_wildcard(pattern, text) is matches
