"""Answers that are remembered until something is written.

Clients ask for the same again and again: a tag's manifest, the repositories that there are. What was answered
is still right while no transaction has committed, and the metadata store can tell that in less time than
it takes to find a row.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Protocol

# Bytes of the answers that are remembered, and of the largest.
CAPACITY = 8 * 1024 * 1024
LARGEST = 256 * 1024


class Versioned(Protocol):
    """A metadata store that can tell whether something was written."""

    def version(self) -> int | None:
        """Return a number that is another one after each commit; None where that would take long."""
        ...


class Memo:
    """Answers by what they depend on; all are forgotten once something is written.

    To use it: take the version, recall, and where nothing is remembered ask for the answer *after* that and
    keep it for that version. So an answer is never older than its version.
    """

    def __init__(self, store: Versioned) -> None:
        self._store = store
        self._version: int | None = None
        self._answers: dict[Hashable, Any] = {}
        self._size = 0

    def version(self) -> int | None:
        """Return what answers are kept for, or None where none are."""
        version = self._store.version()
        if version != self._version:
            self._version = version
            self._forget()
        return version

    def recall(self, version: int | None, key: Hashable) -> Any | None:
        """Return the answer that is kept for a version."""
        return self._answers.get(key) if version is not None and version == self._version else None

    def keep(self, version: int | None, key: Hashable, answer: Any, size: int) -> None:
        """Keep an answer of ``size`` bytes, if it isn't too large."""
        if version is not None and version == self._version and size <= LARGEST:
            if self._size + size > CAPACITY:
                self._forget()
            self._answers[key] = answer
            # With what its key and its objects take.
            self._size += size + 1024

    def _forget(self) -> None:
        self._answers.clear()
        self._size = 0
