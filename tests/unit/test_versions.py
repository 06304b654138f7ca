"""Versions sort as each ecosystem says."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from ecr_emulator.scanners.versions import key_of

# Each list is in order; the examples of deb-version(7), rpm-version(7), apk-tools, semver.org and PEP 440.
ORDERED = {
    "Debian": [
        "1.0~beta1~svn1245",
        "1.0~beta1",
        "1.0",
        "1.0-1~deb12u1",
        "1.0-1",
        "1.0-1+b1",
        "1.0-1.1",
        "1.0-2",
        "1.0a",
        "1.0+dfsg",
        "1.0.1",
        "1.9",
        "1.10",
        "1:0.1",
    ],
    "Rocky Linux": [
        "1.0~rc1-1",
        "1.0-1",
        "1.0-1.el9",
        "1.0-1.el9_2.1",
        "1.0-2",
        "1.0^20230101-1",
        "1.0.1-1",
        "1.0.10-1",
        "1:0.1-1",
    ],
    "Alpine": [
        "1.0_alpha1",
        "1.0_alpha2",
        "1.0_beta",
        "1.0_pre2",
        "1.0_rc1",
        "1.0",
        "1.0-r0",
        "1.0-r1",
        "1.0-r10",
        "1.0_git20230101",
        "1.0_p1",
        "1.0a",
        "1.0b",
        "1.0.0",
        "1.01",
        "1.1",
        "1.9",
        "1.10",
    ],
    "npm": [
        "1.0.0-alpha",
        "1.0.0-alpha.1",
        "1.0.0-alpha.beta",
        "1.0.0-beta",
        "1.0.0-beta.2",
        "1.0.0-beta.11",
        "1.0.0-rc.1",
        "1.0.0",
        "v1.0.1",
        "1.2",
        "1.10.0",
    ],
    "PyPI": [
        "1.0.dev1",
        "1.0a1.dev1",
        "1.0a1",
        "1.0b2.post1",
        "1.0rc1",
        "1.0",
        "1.0+abc.5",
        "1.0+5",
        "1.0.post1.dev1",
        "1.0.post1",
        "1.0.1",
        "1!0.1",
    ],
}
EQUAL = {
    "Debian": ("1.0-0", "1.0", "0:1.0"),
    "Rocky Linux": ("1.0", "0:1.0", "1..0"),
    "Alpine": ("1.0-r1", "1.0~abc-r1"),
    "npm": ("1.2.0", "v1.2", "1.2.0+build"),
    "PyPI": ("1.0", "1.0.0", "v1", "1.0"),
}


@pytest.mark.parametrize("ecosystem", ORDERED)
def test_versions_sort(ecosystem):
    key = key_of(ecosystem)
    for smaller, greater in itertools.combinations(ORDERED[ecosystem], 2):
        assert key(smaller) < key(greater), (smaller, greater)
        assert not key(greater) < key(smaller), (smaller, greater)


@pytest.mark.parametrize("ecosystem", EQUAL)
def test_ways_to_write_one_version_are_equal(ecosystem):
    assert len({repr(key_of(ecosystem)(version)) for version in EQUAL[ecosystem]}) == 1


@pytest.mark.parametrize(
    ("ecosystem", "version"),
    [
        ("Alpine", "latest"),
        ("Alpine", "1.0_wrong1"),
        ("npm", "workspace:*"),
        ("PyPI", "1.0-final"),
        ("Debian", "x:1"),
        ("Debian", "9" * 5000),
    ],
)
def test_what_is_no_version_is_refused(ecosystem, version):
    with pytest.raises(ValueError):  # noqa: PT011 - any text
        key_of(ecosystem)(version)


@st.composite
def python_versions(draw):
    number = st.integers(0, 20)
    text = draw(st.sampled_from(["", "", "1!"])) + ".".join(
        map(str, draw(st.lists(number, min_size=1, max_size=4)))
    )
    if draw(st.booleans()):
        text += draw(st.sampled_from(["a", "b", "rc", ".alpha-", "_c"])) + str(draw(number))
    if draw(st.booleans()):
        text += draw(st.sampled_from([".post", "-", "_rev."])) + str(draw(number))
    if draw(st.booleans()):
        text += ".dev" + str(draw(number))
    return text + draw(st.sampled_from(["", "", "+1", "+abc", "+abc.1"]))


@given(python_versions(), python_versions())
def test_python_versions_sort_as_the_packaging_library_sorts_them(left, right):
    key = key_of("PyPI")
    assert (key(left) < key(right)) is (Version(left) < Version(right))
    assert (key(left) == key(right)) is (Version(left) == Version(right))


@given(
    st.sampled_from(sorted(ORDERED)),
    st.text("019abz~^+.-:", max_size=12),
    st.text("019abz~^+.-:", max_size=12),
)
def test_whatever_has_a_key_can_be_compared(ecosystem, left, right):
    keys = []
    for version in (left, right):
        try:
            keys.append(key_of(ecosystem)(version))
        except ValueError:
            return
    assert (keys[0] < keys[1]) + (keys[1] < keys[0]) + (keys[0] == keys[1]) == 1
