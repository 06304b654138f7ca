"""Upstream registries over HTTP: what their challenges and their token servers say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecr_emulator.core.upstream import UpstreamError
from ecr_emulator.engines.upstreams import read_challenge, read_token


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
