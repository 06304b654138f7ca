"""Berkeley DB's hash format, in which RPM kept its packages before it had SQLite and ndb. Pure.

A file is pages of one size. The first one describes it. Hash pages have keys and values by turns, each
in the page itself or, where it is large, in a chain of overflow pages. All pages are visited, in their
order, and each of a chain once: whatever a file says, reading it takes no longer than it is long.
The layouts are those of Berkeley DB's ``db_page.h``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

_MAGIC = 0x061561
# The only ones that RPM was built with: of Berkeley DB 4.2 to 4.5, and from 4.6 on.
_VERSIONS = (8, 9)
_PAGE_SIZES = tuple(1 << power for power in range(9, 17))
_HEADER = 26
# Kinds of pages; those of version 8 are not sorted.
_HASH_UNSORTED, _OVERFLOW, _HASH_META, _HASH = 2, 7, 8, 13
# Kinds of items of a hash page.
_ON_PAGE, _OFF_PAGE = 1, 3


def items(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys and values of a hash database. Raises ValueError for one that is damaged."""
    try:
        file = _File(content)
        for page in file.hash_pages():
            pairs = iter(file.items_of(page))
            yield from zip(pairs, pairs, strict=True)
    except struct.error:
        raise ValueError("the Berkeley DB database is cut off") from None


class _File:
    """A database file, and the overflow pages of it that were read."""

    def __init__(self, content: bytes) -> None:
        # The file is written in the byte order of the machine that made it; the magic number tells which.
        order = next((order for order in "<>" if content[12:16] == struct.pack(f"{order}I", _MAGIC)), None)
        if order is None:
            raise ValueError("not a hash database of Berkeley DB")
        version, size, encryption, kind, flags = struct.unpack_from(f"{order}IIBBB", content, 16)
        if version not in _VERSIONS or kind != _HASH_META or size not in _PAGE_SIZES:
            raise ValueError("not a hash database that RPM writes")
        if encryption or flags:
            raise ValueError("the Berkeley DB database is encrypted, has checksums or is in several files")
        self._content = content
        self._order = order
        self._size = size
        self._pages = self._unpack("I", content, 32)[0] + 1
        if len(content) < self._pages * size:
            raise ValueError("the Berkeley DB database is cut off")
        self._read: set[int] = set()

    def hash_pages(self) -> Iterator[bytes]:
        """Yield the pages with items, full or empty; those that are free are of another kind."""
        for number in range(1, self._pages):
            page = self._page(number)
            if page[25] in (_HASH, _HASH_UNSORTED):
                yield page

    def items_of(self, page: bytes) -> Iterator[bytes]:
        """Yield a page's keys and values by turns. Each reaches to where the one before it begins."""
        (count,) = self._unpack("H", page, 20)
        end = self._size
        if count % 2:
            raise ValueError("a key of the Berkeley DB database has no value")
        for start in self._unpack(f"{count}H", page, _HEADER):
            if not _HEADER + 2 * count <= start < end:
                raise ValueError("a hash page of the Berkeley DB database is broken")
            if page[start] == _ON_PAGE:
                yield page[start + 1 : end]
            elif page[start] == _OFF_PAGE:
                yield self._overflow(*self._unpack("II", page, start + 4))
            else:
                raise ValueError("an item of the Berkeley DB database is of no kind that RPM writes")
            end = start

    def _overflow(self, number: int, length: int) -> bytes:
        """Return an item that is kept in a chain of pages."""
        parts = []
        while length:
            if number in self._read:
                raise ValueError("an overflow page of the Berkeley DB database is in several places")
            self._read.add(number)
            page = self._page(number)
            number, _, count = self._unpack("IHH", page, 16)
            if page[25] != _OVERFLOW or not 0 < count <= min(length, self._size - _HEADER):
                raise ValueError("an overflow page of the Berkeley DB database is broken")
            parts.append(page[_HEADER : _HEADER + count])
            length -= count
        return b"".join(parts)

    def _page(self, number: int) -> bytes:
        if not 0 < number < self._pages:
            raise ValueError("a page of the Berkeley DB database is missing")
        return self._content[number * self._size : (number + 1) * self._size]

    def _unpack(self, form: str, page: bytes, at: int) -> tuple[int, ...]:
        return struct.unpack_from(self._order + form, page, at)
