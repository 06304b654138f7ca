"""Upstream registries over HTTP: what their challenges and their token servers say."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecr_emulator.core.upstream import UpstreamError
from ecr_emulator.engines.upstreams import read_challenge, read_referrers, read_token, referrers_tag


@pytest.mark.parametrize(
    ("text", "scheme", "parameters"),
    [
        ('Basic realm="https://r/",service="ecr"', "basic", {"realm": "https://r/", "service": "ecr"}),
        (
            'Bearer realm="https://auth/token",service="registry",scope="repository:a/b:pull,push"',
            "bearer",
            {"realm": "https://auth/token", "service": "registry", "scope": "repository:a/b:pull,push"},
        ),
        (
            'BEARER Realm = "a\\"b" , error=invalid_token',
            "bearer",
            {"realm": 'a"b', "error": "invalid_token"},
        ),
        ("Basic", "basic", {}),
        ("", "", {}),
        ("?", "", {}),
    ],
)
def test_a_challenge_has_a_scheme_and_parameters(text, scheme, parameters):
    assert read_challenge(text) == (scheme, parameters)


@given(st.dictionaries(st.text("abc_", min_size=1), st.text("ab c,=:/"), max_size=4))
def test_quoted_parameters_are_read_as_they_were_written(parameters):
    text = "Bearer " + ", ".join(f'{name}="{value}"' for name, value in parameters.items())
    assert read_challenge(text) == ("bearer", parameters)


@pytest.mark.parametrize(
    ("content", "header", "lifetime"),
    [
        (b'{"token": "t", "expires_in": 300}', "Bearer t", 300.0),
        (b'{"access_token": "t"}', "Bearer t", 60.0),
        (b'{"token": "", "access_token": "t", "expires_in": null}', "Bearer t", 60.0),
    ],
)
def test_a_token_lasts_as_long_as_its_server_says(content, header, lifetime):
    assert read_token(content) == (header, lifetime)


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"null", b'{"token": "t", "expires_in": "soon"}'])
def test_an_answer_without_a_token_is_an_upstreams_fault(content):
    with pytest.raises(UpstreamError, match="has not given a token"):
        read_token(content)


@pytest.mark.parametrize(
    ("subject", "tag"),
    [
        (f"sha256:{'a' * 64}", f"sha256-{'a' * 64}"),
        (f"sha512:{'b' * 128}", f"sha512-{'b' * 64}"),
    ],
)
def test_referrers_are_listed_under_a_tag_made_of_the_digest(subject, tag):
    assert referrers_tag(subject) == tag


def _entry(digest, media_type="application/vnd.oci.image.manifest.v1+json"):
    return {"digest": digest, "mediaType": media_type, "size": 1}


def test_referrers_that_ecr_does_not_take_are_left_out():
    image, index, artifact = (f"sha256:{digit * 64}" for digit in "abc")
    entries = [
        _entry(artifact, "application/vnd.oci.artifact.manifest.v1+json"),
        _entry(index, "application/vnd.oci.image.index.v1+json"),
        _entry(image),
    ]
    assert read_referrers(json.dumps({"manifests": entries}).encode()) == [index, image]
    assert read_referrers(b'{"manifests": []}') == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"[" * 100_000,
        b'{"manifests": null}',
        b'{"manifests": [1]}',
        b'{"manifests": [{}]}',
        json.dumps({"manifests": [_entry(1)]}).encode(),
        json.dumps({"manifests": [_entry("../../other")]}).encode(),
        json.dumps({"manifests": [_entry(f"sha256:{'a' * 64}", ["x"])]}).encode()[:-3],
    ],
)
def test_an_answer_that_is_no_index_is_an_upstreams_fault(content):
    with pytest.raises(UpstreamError, match="has not given an index"):
        read_referrers(content)
