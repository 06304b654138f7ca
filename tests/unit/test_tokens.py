"""Authorization tokens: what ``docker login`` is given, and what is taken for one."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecr_emulator.core.registry import Registry
from ecr_emulator.core.seals import Seals
from ecr_emulator.identity import tokens
from ecr_emulator.identity.tokens import Token

SEALS = Seals("5b" * 32)
REGISTRY = Registry("111122223333", "eu-west-1")
CALLER = "arn:aws:iam::111122223333:user/Zoë"
NOW = 1_700_000_000.5

registries = st.builds(
    Registry,
    st.from_regex(r"[0-9]{12}", fullmatch=True),
    st.from_regex(r"[a-z]{2}-[a-z]{4,9}-[1-9]", fullmatch=True),
)
moments = st.floats(0, 250_000_000_000, allow_nan=False)


def issue(registry=REGISTRY, caller=CALLER, now=NOW, seals=SEALS):
    """Return a token's password."""
    token, _ = tokens.issue(seals, registry, caller, now)
    user, _, password = base64.b64decode(token).decode().partition(":")
    assert user == "AWS"
    return password


def basic(user, password, scheme="Basic"):
    return f"{scheme} {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


@given(registry=registries, caller=st.text(max_size=200), now=moments)
def test_a_token_says_who_it_was_given_to_for_which_registry_and_until_when(registry, caller, now):
    token, expires_at = tokens.issue(SEALS, registry, caller, now)
    assert expires_at == now + 12 * 3600
    assert tokens.read(SEALS, f"Basic {token}") == Token(registry, caller, expires_at)


@pytest.mark.parametrize("scheme", ["Basic", "basic", "BASIC"])
def test_the_scheme_is_taken_in_any_case(scheme):
    assert tokens.read(SEALS, basic("AWS", issue(), scheme)).registry == REGISTRY


def test_space_around_the_credentials_is_left_out():
    scheme, _, encoded = basic("AWS", issue()).partition(" ")
    assert tokens.read(SEALS, f"{scheme}   {encoded} ").registry == REGISTRY


@pytest.mark.parametrize(
    "header",
    [
        "",
        " ",
        "Basic",
        "Basic ",
        "Basic =",
        "Basic !!!!",
        "Basic QVdT",  # AWS
        "Basic QVdTOg==",  # AWS:
        "Basic Og==",  # :
        "Basic /////w==",  # no UTF-8
        "Basic é",
        "Basic \ud800",
        "Basic " + "QUFB" * 100_000,
        "Bearer " + issue(),
        "Basic " + issue(),
        issue(),
        basic("AWS", issue()).replace("Basic ", "Basic"),
        basic("AWS", issue()).replace("Basic ", "Bearer "),
        basic("AWS", issue()).replace("Basic ", "Digest "),
        basic("AWS", issue())[:-8],
        basic("aws", issue()),
        basic("", issue()),
        basic("AWS ", issue()),
        basic("root", issue()),
        basic("AWS", ""),
        basic("AWS", "password"),
        basic("AWS", issue() + "."),
        basic("AWS", f"{issue()}:{issue()}"),
        basic("AWS", issue().upper()),
        basic("AWS", "\x00"),
        basic("AWS", "💥" * 1000),
    ],
    ids=lambda header: ascii(header[:24]),
)
def test_other_headers_are_no_token(header):
    assert tokens.read(SEALS, header) is None


def test_a_token_of_another_server_is_none():
    assert tokens.read(SEALS, basic("AWS", issue(seals=Seals("ff" * 32)))) is None


@pytest.mark.parametrize(
    "purpose", ["next-token:111122223333:eu-west-1:repositories", "download", "", "token"]
)
def test_what_was_sealed_for_another_purpose_is_no_token(purpose):
    password = SEALS.seal(purpose, [REGISTRY.account, REGISTRY.region, CALLER, NOW])
    assert tokens.read(SEALS, basic("AWS", password)) is None


def test_a_token_is_nothing_else_that_the_server_seals():
    with pytest.raises(Exception, match="download"):
        SEALS.open("download", issue())


@given(data=st.data())
def test_a_changed_password_is_no_token_or_the_same(data):
    password = issue()
    position = data.draw(st.integers(0, len(password) - 1))
    other = data.draw(st.characters(codec="utf-8").filter(lambda c: c != password[position]))
    read = tokens.read(SEALS, basic("AWS", password[:position] + other + password[position + 1 :]))
    # The last character of base64 has bits that say nothing.
    assert read is None or (position == len(password) - 1 and read.registry == REGISTRY)


@given(header=st.text(st.characters(codec=None), max_size=300))
def test_any_text_is_no_token(header):
    assert tokens.read(SEALS, header) is None
    assert tokens.read(SEALS, f"Basic {header}") is None


@given(content=st.binary(max_size=300))
def test_any_credentials_are_no_token(content):
    for given_content in (content, b"AWS:" + content):
        assert tokens.read(SEALS, f"Basic {base64.b64encode(given_content).decode()}") is None
