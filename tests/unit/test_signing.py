"""Managed signing's rules: which profiles sign what, and how long a signature is valid."""

import calendar
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecr_emulator.core import notary
from ecr_emulator.core.manifest import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
)
from ecr_emulator.core.registry import Registry
from ecr_emulator.core.signing import Profile, is_container_image, matching_profiles, parse_profile
from ecr_emulator.metadata.images import Image

A, B, C = (f"arn:aws:signer:us-east-1:000000000000:/signing-profiles/{name}" for name in ("a1", "b1", "c1"))
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"

names = st.from_regex(r"[a-z0-9]{1,5}([/._-][a-z0-9]{1,5}){0,3}", fullmatch=True)
filters = st.from_regex(r"[a-z0-9*]{1,5}([/._-][a-z0-9*]{1,5}){0,3}", fullmatch=True)


def configuration(*rules):
    return {
        "rules": [
            {"signingProfileArn": profile}
            | ({"repositoryFilters": [{"filter": f} for f in patterns]} if patterns else {})
            for profile, *patterns in rules
        ]
    }


@pytest.mark.parametrize(
    ("rules", "name", "expected"),
    [
        ([], "app", []),
        ([(A,)], "app", [A]),
        ([(A, "app")], "app", [A]),
        ([(A, "app")], "app2", []),
        ([(A, "app")], "team/app", []),
        ([(A, "myapp/*")], "myapp/web", [A]),
        ([(A, "myapp/*")], "myapp", []),
        ([(A, "*/production")], "team/web/production", [A]),
        ([(A, "*prod*")], "team/product-1", [A]),
        ([(A, "x.y")], "x-y", []),
        ([(A, "no", "app")], "app", [A]),
        ([(B,), (A,)], "app", [B, A]),
        ([(B, "no"), (A, "a*"), (C, "*")], "app", [A, C]),
        ([(A, "a*"), (A, "*p"), (B,), (A,)], "app", [A, B]),
    ],
)
def test_the_profiles_of_the_rules_that_match_sign_once_each(rules, name, expected):
    assert matching_profiles(configuration(*rules), name) == expected


@given(name=names, patterns=st.lists(filters, min_size=1, max_size=4))
def test_a_rule_matches_where_one_of_its_filters_does(name, patterns):
    alone = [matching_profiles(configuration((A, pattern)), name) for pattern in patterns]
    assert matching_profiles(configuration((A, *patterns)), name) == ([A] if [A] in alone else [])
    assert matching_profiles(configuration((A, *patterns, "*")), name) == [A]


@given(name=names, before=names, after=names)
def test_a_wildcard_stands_for_any_text(name, before, after):
    for pattern in (f"{before}*", f"*{after}", f"{before}*{after}", f"*{before}*"):
        whole = pattern.replace("*", f"/{name}/", 1).replace("*", "")
        assert matching_profiles(configuration((A, pattern)), whole) == [A]


def image(media_type=OCI_MANIFEST, artifact_type=OCI_CONFIG, subject=None):
    return Image(
        id=1,
        repository_id=1,
        digest=f"sha256:{'0' * 64}",
        media_type=media_type,
        artifact_type=artifact_type,
        config_media_type=artifact_type,
        subject_digest=subject,
        annotations=None,
        manifest_size=1,
        size=1,
        pushed_at=0.0,
        last_pulled_at=None,
    )


@pytest.mark.parametrize(
    ("candidate", "expected"),
    [
        (image(), True),
        (image(DOCKER_MANIFEST, DOCKER_CONFIG), True),
        (image(OCI_INDEX, None), True),
        (image(DOCKER_LIST, None), True),
        (image(subject=f"sha256:{'1' * 64}"), False),
        (image(OCI_INDEX, None, f"sha256:{'1' * 64}"), False),
        (image(artifact_type=notary.SIGNATURE_TYPE), False),
        (image(artifact_type="application/vnd.cncf.helm.config.v1+json"), False),
        (image(OCI_INDEX, "application/x-collection"), False),
        (image(artifact_type=None), False),
    ],
)
def test_container_images_are_signed_and_other_artifacts_are_not(candidate, expected):
    assert is_container_image(candidate) is expected


@pytest.mark.parametrize(
    ("arn", "expected"),
    [
        (A, Profile(Registry("000000000000", "us-east-1"), "a1")),
        (
            "arn:aws-us-gov:signer:us-gov-west-1:123456789012:/signing-profiles/Build_2",
            Profile(Registry("123456789012", "us-gov-west-1"), "Build_2"),
        ),
    ],
)
def test_a_profiles_arn_says_where_it_is(arn, expected):
    assert parse_profile(arn) == expected


@pytest.mark.parametrize(
    "arn", ["", "arn:aws:signer:us-east-1:1:/signing-profiles/a", A + "/version", A + "\n"]
)
def test_other_texts_are_no_profile(arn):
    with pytest.raises(ValueError, match="is no signing profile"):
        parse_profile(arn)


@pytest.mark.parametrize(
    ("signed_at", "expiry"),
    [
        ("2023-07-18T10:51:39", "2034-10-18T10:51:39"),
        ("2024-09-30T00:00:00", "2035-12-30T00:00:00"),
        ("2024-10-01T00:00:00", "2036-01-01T00:00:00"),
        ("2024-11-30T12:00:00", "2036-02-29T12:00:00"),
        ("2025-11-29T12:00:00", "2037-02-28T12:00:00"),
        ("2025-12-31T23:59:59", "2037-03-31T23:59:59"),
        ("9990-01-01T00:00:00", "9999-12-31T23:59:59"),
    ],
)
def test_a_signature_expires_after_135_months(signed_at, expiry):
    moment = datetime.fromisoformat(signed_at).replace(tzinfo=UTC)
    assert notary.expiry_of(moment) == datetime.fromisoformat(expiry).replace(tzinfo=UTC)


@given(st.datetimes(datetime(1950, 1, 1), datetime(9988, 9, 30), timezones=st.just(UTC)))
def test_expiry_is_135_months_on_and_at_most_three_days_short_of_the_same_day(moment):
    expiry = notary.expiry_of(moment)
    assert (expiry.year * 12 + expiry.month) - (moment.year * 12 + moment.month) == 135
    assert expiry.timetz() == moment.timetz()
    assert timedelta() <= timedelta(moment.day - expiry.day) <= timedelta(3)
    last_day = calendar.monthrange(expiry.year, expiry.month)[1]
    assert expiry.day in (moment.day, last_day)
