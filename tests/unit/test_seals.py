"""Seals: only what this server sealed opens, for its purpose alone, until the key is renewed."""

import asyncio
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecr_emulator.core.seals import InvalidSealError, Seals, load_key, renew_key
from ecr_emulator.metadata.sqlite import SqliteMetadata

KEY = "5b" * 32
# What URLs, and so query strings and JSON too, take as it is.
URL_SAFE = set(string.ascii_letters + string.digits + "-_.")

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
# Half of a UTF-16 pair among them, which no UTF-8 text can have but JSON can bring.
texts = st.text(st.characters(codec=None), max_size=200)


@pytest.fixture
def seals():
    return Seals(KEY)


def refuses(seals, purpose, text):
    with pytest.raises(InvalidSealError, match=purpose):
        seals.open(purpose, text)


@given(value=json_values)
def test_what_was_sealed_opens_to_the_same_value(value):
    text = Seals(KEY).seal("list", value)
    assert set(text) <= URL_SAFE
    # By another process with the same key too.
    assert Seals(KEY).open("list", text) == value


@given(value=json_values, purpose=st.text(min_size=1, max_size=20))
def test_a_seal_is_good_for_its_purpose_alone(value, purpose):
    seals = Seals(KEY)
    text = seals.seal(f"{purpose}:a", value)
    for other in (f"{purpose}:b", purpose, "", f"{purpose}:a "):
        with pytest.raises(InvalidSealError):
            seals.open(other, text)


@given(value=json_values, key=st.text(string.hexdigits, min_size=64, max_size=64).filter(lambda k: k != KEY))
def test_a_seal_of_another_key_does_not_open(value, key):
    with pytest.raises(InvalidSealError):
        Seals(KEY).open("list", Seals(key).seal("list", value))


@given(data=st.data())
def test_a_changed_seal_does_not_open(data):
    text = Seals(KEY).seal("list", ["team/app", 17])
    position = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from(sorted(URL_SAFE - {text[position]})))
    changed = text[:position] + other + text[position + 1 :]
    opened = opens(changed)
    # The last character of base64 has bits that say nothing: another one there is the same seal.
    assert opened is None or (position == len(text) - 1 and opened == ["team/app", 17])


@given(data=st.data())
def test_a_part_of_a_seal_does_not_open(data):
    text = Seals(KEY).seal("list", ["team/app", 17])
    begin = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(begin, len(text) - (begin == 0)))
    assert opens(text[begin:end]) is None


@given(extra=st.text(sorted(URL_SAFE), min_size=1, max_size=20))
def test_a_seal_with_more_to_it_does_not_open(extra):
    text = Seals(KEY).seal("list", ["team/app", 17])
    assert opens(extra + text) is None
    assert opens(text + extra) is None


@given(value=json_values)
def test_the_parts_of_two_seals_do_not_make_a_third(value):
    first, second = Seals(KEY).seal("list", ["a"]), Seals(KEY).seal("list", ["b"])
    for one, other in ((first, second), (second, first)):
        assert opens(f"{one.rpartition('.')[0]}.{other.rpartition('.')[2]}") is None


def opens(text):
    try:
        return Seals(KEY).open("list", text)
    except InvalidSealError:
        return None


@given(text=texts)
def test_any_other_text_is_refused(text):
    refuses(Seals(KEY), "list", text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "a.b",
        ".eJw.",
        "\x00",
        "\ud800.\udfff",
        "💥.💥",
        "null",
        "A" * 1_000_000,
        "." * 100_000,
        ".eJwr" + "A" * 500_000 + ".sig",
    ],
    ids=lambda text: repr(text[:10]),
)
def test_odd_and_oversized_texts_are_refused(seals, text):
    refuses(seals, "list", text)


def test_a_large_value_is_sealed(seals):
    value = ["x" * 100_000, "é" * 10_000]
    assert seals.open("list", seals.seal("list", value)) == value


def test_the_key_survives_the_process_and_a_renewal_ends_all_seals(tmp_path):
    async def restarted(step):
        metadata = SqliteMetadata(tmp_path / "metadata.sqlite", durable=False)
        try:
            seals = Seals(await metadata.write(load_key))
            return await step(seals, metadata)
        finally:
            await metadata.close()

    async def seal(seals, _metadata):
        return seals.seal("list", "before")

    async def renew(seals, metadata):
        assert seals.open("list", text) == "before"
        seals.key = await metadata.write(renew_key)
        refuses(seals, "list", text)
        return seals.seal("list", "after")

    async def reopen(seals, _metadata):
        refuses(seals, "list", text)
        return seals.open("list", renewed)

    text = asyncio.run(restarted(seal))
    renewed = asyncio.run(restarted(renew))
    assert asyncio.run(restarted(reopen)) == "after"


def test_two_servers_do_not_open_each_others_seals(tmp_path):
    async def seals_of(name):
        metadata = SqliteMetadata(tmp_path / name, durable=False)
        try:
            return Seals(await metadata.write(load_key))
        finally:
            await metadata.close()

    one, other = asyncio.run(seals_of("one.sqlite")), asyncio.run(seals_of("other.sqlite"))
    refuses(other, "list", one.seal("list", 1))
