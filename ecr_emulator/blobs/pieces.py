"""Pieces: the objects in which an upload comes in, and how one object is made of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from ecr_emulator.blobs.base import UploadMissingError

# Bytes of the least that S3 takes as a part of an object, but as its last, and of the most that are copied
# as one: several copies are faster at a time than one, and none takes long.
MIN_PART = 5 * 1024 * 1024
MAX_COPY = 64 * 1024 * 1024


class Piece(Struct, frozen=True):
    """An object of ``size`` bytes that an append wrote from the upload's byte ``offset`` on."""

    key: str
    offset: int
    size: int


class Slice(Struct, frozen=True):
    """The bytes of a piece from ``start`` up to ``stop``, which it leaves out."""

    piece: Piece
    start: int
    stop: int

    @property
    def size(self) -> int:
        """Its number of bytes."""
        return self.stop - self.start

    @property
    def is_whole(self) -> bool:
        """Whether it is all of its piece."""
        return self.size == self.piece.size


def first_bytes(pieces: Iterable[Piece], size: int) -> list[Slice]:
    """Return what the first ``size`` bytes of an upload are made of; a piece ends where the next begins.

    Raises UploadMissingError where some of them are in no piece.
    """
    slices: list[Slice] = []
    end = size
    for piece in sorted(pieces, key=lambda piece: (piece.offset, piece.key), reverse=True):
        if piece.offset >= end:
            continue
        if piece.offset + piece.size < end:
            raise UploadMissingError
        slices.append(Slice(piece, 0, end - piece.offset))
        end = piece.offset
    if end > 0:
        raise UploadMissingError
    return slices[::-1]


def parts(slices: Iterable[Slice]) -> list[list[Slice]]:
    """Divide slices into parts of an object, each but the last large enough for S3.

    A part is one slice of at least MIN_PART bytes, which can be copied, or several, of no more bytes
    than that together, which have to be read. The last one may also be a single small slice.
    """
    divided: list[list[Slice]] = []
    small: list[Slice] = []
    for each in slices:
        rest = each
        if small:
            taken, rest = _split(rest, MIN_PART - _size(small))
            small.append(taken)
            if _size(small) == MIN_PART:
                divided.append(small)
                small = []
        while rest.size >= MIN_PART:
            # No remainder that is too small to be copied.
            taken, rest = _split(rest, rest.size if rest.size < MAX_COPY + MIN_PART else MAX_COPY)
            divided.append([taken])
        if rest.size > 0:
            small.append(rest)
    if small:
        divided.append(small)
    return divided


def _split(whole: Slice, size: int) -> tuple[Slice, Slice]:
    middle = min(whole.start + size, whole.stop)
    return replace(whole, stop=middle), replace(whole, start=middle)


def _size(slices: Sequence[Slice]) -> int:
    return sum(each.size for each in slices)
