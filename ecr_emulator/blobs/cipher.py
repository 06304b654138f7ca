"""Blobs as they are stored encrypted: AES-256-GCM by chunk, so that any part of them can be read.

A stored blob is

========  ==========================================================================================
header    57 bytes: magic and version, the number of layers, a random salt, a proof of the key
chunks    each the length of its plaintext (4 bytes), at most 64 KiB, and what that is sealed to
trailer   where in the plaintext the chunks that are shorter end, sealed, and its length (4 bytes)
========  ==========================================================================================

Bytes are only ever added. Each append ends with a chunk that may be short, so that what was acknowledged
is not touched again, whatever happens to the next append. The trailer tells where these are; all other
positions follow.

- The keys of a blob are derived from the master key and the blob's salt (HKDF-SHA256), one for each layer:
  with two, chunks are sealed twice, by independent keys.
- Nonces are random, 96 bits. Counters would have to be kept before each write, since an append that failed
  is repeated with other bytes. The key is one blob's alone, of about a million chunks at most: the odds that
  two of its nonces are the same are below 2**-55.
- The position of a chunk and its length are authenticated with it, as are the bytes of all chunks together
  with the trailer: chunks can't be changed, swapped, repeated, left out or cut off.

Nothing here reads or writes: stores feed bytes and get bytes.
"""

from __future__ import annotations

import hmac
import os
import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ecr_emulator.blobs.base import CorruptBlobError, WrongKeyError

KEY_SIZE = 32
CHUNK_SIZE = 1 << 16
# Bytes at the end of a stored blob that have its trailer: room for twice the appends that a layer can have.
TAIL_SIZE = 1 << 16

_MAGIC = b"ECRBLOB\x01"
_HEADER = struct.Struct(">8sB32s16s")
_LENGTH = struct.Struct(">I")
_ASSOCIATED = struct.Struct(">cQI")
_CHUNK, _TRAILER = b"c", b"t"
_SALT_SIZE, _NONCE_SIZE, _TAG_SIZE = 32, 12, 16
HEADER_SIZE = _HEADER.size

Bytes = bytes | memoryview


class Cipher:
    """Encrypts and decrypts blobs with a master key of 32 bytes, in one or two layers."""

    def __init__(self, key: bytes, layers: int = 1) -> None:
        self._key = key
        self._layers = layers

    def encryptor(self) -> Encryptor:
        """Begin a blob."""
        return Encryptor(_Sealer(self._key, self._layers, os.urandom(_SALT_SIZE)))

    def replay(self, size: int) -> Replay:
        """Begin to read the first ``size`` bytes of a blob again, to go on with it."""
        return Replay(self, size)

    def layout(self, head: bytes, tail: bytes, stored_size: int) -> Layout:
        """Return where the parts of a stored blob are.

        ``head`` is its first HEADER_SIZE bytes, ``tail`` its last TAIL_SIZE, or all that there are. Raises
        WrongKeyError and CorruptBlobError.
        """
        sealer = self.sealer(head)
        if len(tail) < _LENGTH.size:
            raise CorruptBlobError("it has no trailer")
        (length,) = _LENGTH.unpack(tail[-_LENGTH.size :])
        trailer_size = sealer.sealed_size(length)
        chunks_size = stored_size - HEADER_SIZE - trailer_size
        if length % 8 or not length or trailer_size > len(tail) or chunks_size < 0:
            raise CorruptBlobError("it has no trailer")
        opened = sealer.open(_TRAILER, chunks_size, length, tail[-trailer_size : -_LENGTH.size])
        return Layout(sealer, [end for (end,) in struct.iter_unpack(">Q", opened)])

    def sealer(self, head: bytes) -> _Sealer:
        """Return what a blob with this header is sealed with. Raises WrongKeyError and CorruptBlobError."""
        try:
            magic, layers, salt, proof = _HEADER.unpack(head)
        except struct.error as error:
            raise CorruptBlobError("it has no header") from error
        if magic != _MAGIC:
            raise CorruptBlobError("it has no header")
        sealer = _Sealer(self._key, self._layers, salt)
        if layers != self._layers or not hmac.compare_digest(proof, sealer.proof):
            raise WrongKeyError
        return sealer


class _Sealer:
    """Seals and opens the parts of one blob."""

    def __init__(self, master: bytes, layers: int, salt: bytes) -> None:
        length = layers * KEY_SIZE + _TAG_SIZE
        hkdf = HKDF(algorithm=SHA256(), length=length, salt=salt, info=b"ecr-emulator blob %d" % layers)
        derived = hkdf.derive(master)
        self._layers = [AESGCM(derived[KEY_SIZE * n : KEY_SIZE * (n + 1)]) for n in range(layers)]
        self.proof = derived[-_TAG_SIZE:]
        self.header = _HEADER.pack(_MAGIC, layers, salt, self.proof)
        self._added = layers * (_NONCE_SIZE + _TAG_SIZE)

    def sealed_size(self, length: int) -> int:
        """Return how many bytes a part has with what is added to it, its length included."""
        return _LENGTH.size + length + self._added

    def seal(self, kind: bytes, number: int, plaintext: Bytes) -> bytes:
        associated = _ASSOCIATED.pack(kind, number, len(plaintext))
        sealed = plaintext
        for layer in self._layers:
            nonce = os.urandom(_NONCE_SIZE)
            sealed = nonce + layer.encrypt(nonce, sealed, associated)
        return bytes(sealed)

    def open(self, kind: bytes, number: int, length: int, sealed: Bytes) -> bytes:
        """Return the plaintext. Raises CorruptBlobError."""
        associated = _ASSOCIATED.pack(kind, number, length)
        opened = sealed
        try:
            for layer in reversed(self._layers):
                opened = layer.decrypt(bytes(opened[:_NONCE_SIZE]), opened[_NONCE_SIZE:], associated)
        except (InvalidTag, ValueError) as error:
            raise CorruptBlobError("a part of it is not what was written") from error
        return bytes(opened)


class Encryptor:
    """Turns a blob's bytes into those that are stored, one append after the other.

    ``size`` counts the bytes that were taken, ``stored_size`` those that were given.
    """

    def __init__(self, sealer: _Sealer) -> None:
        self._sealer = sealer
        self._pending = b""
        self._chunks = 0
        # The positions at which short chunks end.
        self._ends: list[int] = []
        self.size = 0
        self.stored_size = 0

    def append(self, data: bytes) -> bytes:
        """Take bytes, and return those to be stored next."""
        view = memoryview(self._pending + data if self._pending else data)
        whole = len(view) - len(view) % CHUNK_SIZE
        self._pending = bytes(view[whole:])
        self.size += len(data)
        parts: list[bytes] = []
        for start in range(0, whole, CHUNK_SIZE):
            parts += self._chunk(view[start : start + CHUNK_SIZE])
        return self._given(parts)

    def end_append(self) -> bytes:
        """Return the rest of what is to be stored before an append is acknowledged."""
        parts: list[bytes] = []
        if self._pending:
            parts += self._chunk(self._pending)
            self._pending = b""
            self._ends.append(self.size)
        return self._given(parts)

    def trailer(self) -> bytes:
        """Return what makes a blob of what was stored. It can be called again, and more be appended instead.

        A blob of nothing has its header in it.
        """
        header = b"" if self.stored_size else self._sealer.header
        ends = self._ends if self._ends and self._ends[-1] == self.size else [*self._ends, self.size]
        packed = struct.pack(f">{len(ends)}Q", *ends)
        chunks_size = max(self.stored_size - HEADER_SIZE, 0)
        return header + self._sealer.seal(_TRAILER, chunks_size, packed) + _LENGTH.pack(len(packed))

    def reopen(self, stored: memoryview) -> tuple[bytes, int] | None:
        """Go on behind the chunk that some stored bytes begin with, if it is there in whole.

        Returns its plaintext and how many bytes it is stored in. Raises CorruptBlobError.
        """
        if len(stored) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(stored)
        if not 0 < length <= CHUNK_SIZE:
            raise CorruptBlobError("it has no such chunk")
        stored_size = self._sealer.sealed_size(length)
        if len(stored) < stored_size:
            return None
        plaintext = self._sealer.open(_CHUNK, self._chunks, length, stored[_LENGTH.size : stored_size])
        self._chunks += 1
        self.size += length
        self.stored_size += stored_size
        if length < CHUNK_SIZE:
            self._ends.append(self.size)
        return plaintext, stored_size

    def _chunk(self, plaintext: Bytes) -> list[bytes]:
        sealed = self._sealer.seal(_CHUNK, self._chunks, plaintext)
        self._chunks += 1
        return [_LENGTH.pack(len(plaintext)), sealed]

    def _given(self, parts: list[bytes]) -> bytes:
        # Nothing is stored of nothing, so that an upload without bytes has no header to go on with.
        given = b"".join([self._sealer.header, *parts] if parts and not self.stored_size else parts)
        self.stored_size += len(given)
        return given


class Replay:
    """Reads the beginning of a stored blob, as it comes, up to where an append ended.

    ``encryptor`` goes on from there once all is read; it is None until there is a header.
    """

    def __init__(self, cipher: Cipher, size: int) -> None:
        self._cipher = cipher
        self._size = size
        self._buffer = b""
        self.encryptor: Encryptor | None = None

    @property
    def is_over(self) -> bool:
        """Whether all was read that was asked for."""
        return self.encryptor is not None and self.encryptor.size >= self._size

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take the next stored bytes and give the plaintext of the chunks that are whole.

        What is stored behind the last of them is passed over. Raises WrongKeyError and CorruptBlobError.
        """
        self._buffer += data
        position = 0
        if self.encryptor is None:
            if len(self._buffer) < HEADER_SIZE:
                return
            self.encryptor = Encryptor(self._cipher.sealer(self._buffer[:HEADER_SIZE]))
            self.encryptor.stored_size = position = HEADER_SIZE
        view = memoryview(self._buffer)
        while not self.is_over and (reopened := self.encryptor.reopen(view[position:])):
            plaintext, stored_size = reopened
            position += stored_size
            yield plaintext
        self._buffer = self._buffer[position:]


class Layout:
    """Where the chunks of a stored blob are; ``size`` is that of its plaintext, in bytes."""

    def __init__(self, sealer: _Sealer, ends: Sequence[int]) -> None:
        self.sealer = sealer
        self.size = ends[-1]
        # For each run of chunks that only the last of may be short: where it begins in the plaintext, in the
        # stored blob, and how many chunks come before it.
        self._begins, self._stored, self._numbers = [0], [HEADER_SIZE], [0]
        for begin, end in pairwise([0, *ends]):
            if end < begin:
                raise CorruptBlobError("its trailer makes no sense")
            chunks = -(-(end - begin) // CHUNK_SIZE)
            self._begins.append(end)
            self._stored.append(self._stored[-1] + end - begin + chunks * sealer.sealed_size(0))
            self._numbers.append(self._numbers[-1] + chunks)

    def chunk_at(self, position: int) -> tuple[int, int, int]:
        """Return of the chunk with a byte its number, where it begins, and where that is stored."""
        run = bisect_right(self._begins, position) - 1
        index = (position - self._begins[run]) // CHUNK_SIZE
        return (
            self._numbers[run] + index,
            self._begins[run] + index * CHUNK_SIZE,
            self._stored[run] + index * self.sealer.sealed_size(CHUNK_SIZE),
        )

    def chunk_end(self, position: int) -> int:
        """Return where the chunk with a byte ends in the plaintext."""
        run = bisect_right(self._begins, position) - 1
        return min(self.chunk_at(position)[1] + CHUNK_SIZE, self._begins[run + 1])

    def stored_range(self, start: int, end: int) -> tuple[int, int]:
        """Return from where to where is stored what a range, which has a byte at least, is in."""
        first = self.chunk_at(start)[2]
        _, begin, last = self.chunk_at(end - 1)
        return first, last + self.sealer.sealed_size(self.chunk_end(begin) - begin)

    def decryptor(self, start: int, end: int) -> Decryptor:
        """Begin to read a range, which has a byte at least."""
        return Decryptor(self, start, end)


class Decryptor:
    """Gives a range of a blob's bytes for those of its ``stored_range``, as they come."""

    def __init__(self, layout: Layout, start: int, end: int) -> None:
        self._layout = layout
        self._position = start
        self._end = end
        self._buffer = b""

    def feed(self, data: bytes) -> bytes:
        """Take the next stored bytes and return what can be read of the range. Raises CorruptBlobError."""
        self._buffer += data
        view, used = memoryview(self._buffer), 0
        parts = []
        while self._position < self._end:
            number, begin, _ = self._layout.chunk_at(self._position)
            length = self._layout.chunk_end(begin) - begin
            size = self._layout.sealer.sealed_size(length)
            if len(view) - used < size:
                break
            if _LENGTH.unpack_from(view, used) != (length,):
                raise CorruptBlobError("it has another chunk")
            sealed = view[used + _LENGTH.size : used + size]
            opened = self._layout.sealer.open(_CHUNK, number, length, sealed)
            parts.append(opened[self._position - begin : self._end - begin])
            self._position, used = begin + length, used + size
        self._buffer = bytes(view[used:])
        return b"".join(parts)

    def finish(self) -> None:
        """Tell that all stored bytes were fed. Raises CorruptBlobError where some are missing."""
        if self._position < self._end:
            raise CorruptBlobError("it is cut off")
