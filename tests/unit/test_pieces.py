"""What an upload's bytes are made of, and how S3 makes one object of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecr_emulator.blobs.base import UploadMissingError
from ecr_emulator.blobs.pieces import MAX_COPY, MIN_PART, Piece, Slice, first_bytes, parts

MIB = 1024 * 1024
# S3 takes as many of an object.
MAX_PARTS = 10_000


def piece(offset: int, size: int, name: str = "") -> Piece:
    return Piece(f"{offset:04}-{name}", offset, size)


@pytest.mark.parametrize(
    ("pieces", "size", "expected"),
    [
        ([], 0, []),
        ([(0, 10)], 10, [(0, 0, 10)]),
        ([(0, 10)], 4, [(0, 0, 4)]),
        ([(0, 10), (10, 5)], 15, [(0, 0, 10), (10, 0, 5)]),
        ([(10, 5), (0, 10)], 12, [(0, 0, 10), (10, 0, 2)]),
        # Cut by what was appended in its middle, twice.
        ([(0, 10), (4, 3)], 7, [(0, 0, 4), (4, 0, 3)]),
        ([(0, 10), (4, 30), (5, 1)], 6, [(0, 0, 4), (4, 0, 1), (5, 0, 1)]),
        # What comes after is none of the first bytes.
        ([(0, 10), (10, 5)], 10, [(0, 0, 10)]),
        ([], 1, None),
        ([(0, 10)], 11, None),
        ([(1, 10)], 5, None),
        ([(0, 10), (11, 5)], 16, None),
        ([(0, 10), (4, 3)], 8, None),
    ],
)
def test_a_piece_ends_where_the_next_begins(
    pieces: list[tuple[int, int]], size: int, expected: list[tuple[int, int, int]] | None
) -> None:
    given_pieces = [piece(*each) for each in pieces]
    if expected is None:
        with pytest.raises(UploadMissingError):
            first_bytes(given_pieces, size)
    else:
        found = first_bytes(given_pieces, size)
        assert [(each.piece.offset, each.start, each.stop) for each in found] == expected


def slices_of(sizes: list[int]) -> list[Slice]:
    offsets = [sum(sizes[:number]) for number in range(len(sizes))]
    return first_bytes([piece(*each) for each in zip(offsets, sizes, strict=True)], sum(sizes))


@given(st.lists(st.one_of(st.integers(1, 20 * MIB), st.integers(1, 1000), st.integers(1, 5000 * MIB))))
def test_parts_are_the_bytes_in_their_order_and_of_sizes_that_s3_takes(sizes: list[int]) -> None:
    slices = slices_of(sizes)
    divided = parts(slices)
    together: list[Slice] = []
    for each in [each for part in divided for each in part]:
        if together and together[-1].piece == each.piece and together[-1].stop == each.start:
            together[-1] = Slice(each.piece, together[-1].start, each.stop)
        else:
            together.append(each)
    assert together == slices
    part_sizes = [sum(each.size for each in part) for part in divided]
    assert all(size >= MIN_PART for size in part_sizes[:-1])
    assert all(size < MAX_COPY + MIN_PART for size in part_sizes)
    assert all(size <= MIN_PART for part, size in zip(divided, part_sizes, strict=True) if len(part) > 1)


def test_a_large_layer_is_copied_but_for_what_is_too_small() -> None:
    assert [len(part) for part in parts(slices_of([10 * MIB] * 5))] == [1] * 5
    assert [[each.size for each in part] for part in parts(slices_of([MIB, 20 * MIB, MIB]))] == [
        [MIB, 4 * MIB],
        [16 * MIB],
        [MIB],
    ]


@pytest.mark.parametrize(
    "sizes", [[12 * MIB] * 4200, [5 * MIB + 1] * 4200, [6 * MIB, MIB] * 2100, [52_000 * MIB]]
)
def test_the_largest_layer_has_no_more_parts_than_s3_takes(sizes: list[int]) -> None:
    assert len(parts(slices_of(sizes))) <= MAX_PARTS
