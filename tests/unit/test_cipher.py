"""Encrypted blobs: any range reads back as it was written, and nothing that was changed does."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecr_emulator.blobs import cipher
from ecr_emulator.blobs.base import CorruptBlobError, WrongKeyError
from ecr_emulator.blobs.cipher import CHUNK_SIZE, HEADER_SIZE, TAIL_SIZE, Cipher

KEY = bytes(range(32))
CIPHERS = {layers: Cipher(KEY, layers) for layers in (1, 2)}
# Around the borders of chunks, with some chunks in between.
SIZES = st.one_of(
    st.integers(0, 200),
    st.integers(-2, 2).map(lambda difference: CHUNK_SIZE + difference),
    st.integers(-2, 2).map(lambda difference: 2 * CHUNK_SIZE + difference),
    st.integers(0, 3 * CHUNK_SIZE),
)
layers = st.sampled_from([1, 2])


def content_of(size, seed=0):
    return random.Random(seed).randbytes(size)


def store(used, *appends, batch=None):
    """Encrypt what some appends bring, each in batches, and return what is stored."""
    encryptor = used.encryptor()
    stored = b""
    for append in appends:
        step = batch or len(append) or 1
        for start in range(0, len(append), step):
            stored += encryptor.append(append[start : start + step])
        stored += encryptor.end_append()
        assert encryptor.stored_size == len(stored)
    return stored + encryptor.trailer()


def layout_of(used, stored):
    return used.layout(stored[:HEADER_SIZE], stored[-TAIL_SIZE:], len(stored))


def read(used, stored, start, end, step=1 << 20):
    layout = layout_of(used, stored)
    if start == end:
        return b""
    first, last = layout.stored_range(start, end)
    decryptor = layout.decryptor(start, end)
    parts = [decryptor.feed(stored[at : min(at + step, last)]) for at in range(first, last, step)]
    decryptor.finish()
    return b"".join(parts)


def read_all(used, stored):
    return read(used, stored, 0, layout_of(used, stored).size)


@given(data=st.data(), count=layers, sizes=st.lists(SIZES, max_size=5), batch=st.integers(1000, 200_000))
@settings(max_examples=60)
def test_any_range_of_any_appends_is_what_was_written(data, count, sizes, batch):
    used = CIPHERS[count]
    appends = [content_of(size, seed) for seed, size in enumerate(sizes)]
    content = b"".join(appends)
    stored = store(used, *appends, batch=batch)
    layout = layout_of(used, stored)
    assert layout.size == len(content)
    assert read_all(used, stored) == content
    if content:
        start = data.draw(st.integers(0, len(content) - 1))
        end = data.draw(st.integers(start + 1, len(content)))
        step = data.draw(st.integers(5_000, 100_000))
        assert read(used, stored, start, end, step) == content[start:end]
        first, last = layout.stored_range(start, end)
        # Not more is read than the chunks that the range is in.
        assert last - first <= (end - start) + (2 + len(sizes) + (end - start) // CHUNK_SIZE) * (
            CHUNK_SIZE + 100
        )


@given(count=layers, sizes=st.lists(SIZES, min_size=1, max_size=4), step=st.integers(5_000, 300_000))
@settings(max_examples=40)
def test_an_upload_goes_on_where_an_append_ended_whatever_a_later_one_left(count, sizes, step):
    used = CIPHERS[count]
    appends = [content_of(size, seed) for seed, size in enumerate(sizes)]
    encryptor, stored, taken = used.encryptor(), b"", b""
    for append in appends:
        stored += encryptor.append(append) + encryptor.end_append()
        taken += append
        if not taken:
            continue
        left = stored + encryptor.append(b"lost" * 40_000)
        replay = used.replay(len(taken))
        again = b"".join(
            part for at in range(0, len(left), step) for part in replay.feed(left[at : at + step])
        )
        assert replay.is_over
        assert again == taken
        encryptor = replay.encryptor
        assert (encryptor.size, encryptor.stored_size) == (len(taken), len(stored))
    assert read_all(used, stored + encryptor.trailer()) == taken


@given(data=st.data(), count=layers)
@settings(max_examples=150)
def test_no_bit_can_be_flipped(data, count):
    used = CIPHERS[count]
    stored = store(used, content_of(1000), content_of(CHUNK_SIZE + 10), b"end")
    position = data.draw(st.integers(0, len(stored) - 1))
    bit = data.draw(st.integers(0, 7))
    changed = bytearray(stored)
    changed[position] ^= 1 << bit
    with pytest.raises((CorruptBlobError, WrongKeyError)):
        read_all(used, bytes(changed))


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("size", [0, 1, CHUNK_SIZE - 1, CHUNK_SIZE, CHUNK_SIZE + 1, 3 * CHUNK_SIZE])
def test_what_is_cut_off_or_added_is_noticed(count, size):
    used = CIPHERS[count]
    stored = store(used, content_of(size))
    lengths = {0, 1, HEADER_SIZE - 1, HEADER_SIZE, HEADER_SIZE + 4, *range(len(stored) - 50, len(stored))}
    lengths |= {HEADER_SIZE + n * (CHUNK_SIZE + 4 + 28 * count) for n in range(1, size // CHUNK_SIZE + 1)}
    for length in lengths:
        with pytest.raises(CorruptBlobError):
            read_all(used, stored[:length])
    for added in (b"\0", b"x" * 100, stored, stored[HEADER_SIZE:]):
        with pytest.raises(CorruptBlobError):
            read_all(used, stored + added)


@pytest.mark.parametrize("count", [1, 2])
def test_chunks_can_not_be_swapped_repeated_or_left_out(count):
    used = CIPHERS[count]
    stored = store(used, content_of(4 * CHUNK_SIZE))
    size = CHUNK_SIZE + 4 + 28 * count
    head, body, trailer = (
        stored[:HEADER_SIZE],
        stored[HEADER_SIZE : HEADER_SIZE + 4 * size],
        stored[HEADER_SIZE + 4 * size :],
    )
    chunks = [body[size * n : size * (n + 1)] for n in range(4)]
    assert read_all(used, head + b"".join(chunks) + trailer) == content_of(4 * CHUNK_SIZE)
    for order in ([1, 0, 2, 3], [0, 0, 2, 3], [0, 1, 3], [0, 1, 2, 3, 3], [0, 1, 2], []):
        with pytest.raises(CorruptBlobError):
            read_all(used, head + b"".join(chunks[n] for n in order) + trailer)
    # Nor taken from another blob of the same key, even the same bytes.
    other = store(used, content_of(4 * CHUNK_SIZE))
    with pytest.raises(CorruptBlobError):
        read_all(used, head + other[HEADER_SIZE : HEADER_SIZE + size] + stored[HEADER_SIZE + size :])
    with pytest.raises(CorruptBlobError):
        read_all(used, stored[: -len(trailer)] + other[-len(trailer) :])


def test_another_key_or_number_of_layers_is_told_from_damage():
    stored = store(CIPHERS[1], b"content")
    for wrong in (Cipher(bytes(32)), CIPHERS[2]):
        with pytest.raises(WrongKeyError):
            read_all(wrong, stored)
        with pytest.raises(WrongKeyError):
            list(wrong.replay(7).feed(stored))
    with pytest.raises(CorruptBlobError):
        read_all(CIPHERS[1], b"no blob at all, but long enough for a header and a trailer, too")


def test_nothing_of_the_plaintext_is_stored_and_nothing_is_stored_twice():
    content = b"find me " * 50_000
    one, other = store(CIPHERS[1], content), store(CIPHERS[1], content)
    assert b"find me" not in one
    size = CHUNK_SIZE + 32
    chunks = {
        blob[HEADER_SIZE + size * n : HEADER_SIZE + size * (n + 1)] for blob in (one, other) for n in range(6)
    }
    assert len(chunks) == 12
    nonces = {chunk[4:16] for chunk in chunks}
    assert len(nonces) == 12


def test_two_layers_are_two_keys(monkeypatch):
    """With the inner layer alone, or with one key for both, two layers would protect like one."""
    used = []
    real = cipher.AESGCM
    monkeypatch.setattr(cipher, "AESGCM", lambda key: used.append(key) or real(key))
    store(Cipher(KEY, 2), b"content")
    assert len(set(used)) == 2
    assert KEY not in used
    one, two = store(CIPHERS[1], b"x" * 100), store(CIPHERS[2], b"x" * 100)
    # Of the chunk and of the trailer.
    assert len(two) - len(one) == 2 * 28


def test_the_trailer_of_a_layer_with_the_most_parts_is_found():
    used = CIPHERS[2]
    appends = [b"part"] * 4200
    stored = store(used, *appends)
    assert read_all(used, stored) == b"part" * 4200
    assert read(used, stored, 9999, 10_005) == (b"part" * 4200)[9999:10_005]
