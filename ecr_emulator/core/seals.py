"""Texts that the server hands out and takes back: page tokens, authorization tokens, download URLs.

Each is sealed with the server's key and for one purpose, so that it can't be forged or used for
another. The key is kept with the metadata: what was handed out survives a restart, and a reset
ends it.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from typing import Any

from itsdangerous import BadData, URLSafeSerializer

from ecr_emulator.metadata.store import Transaction

_KEY = "seal-key"
# Texts whose values are remembered: a client sends its authorization token with each request.
KEPT = 1024


class InvalidSealError(Exception):
    """A text was not sealed by this server, or for another purpose."""


class Seals:
    """Seals values into opaque texts and opens them again."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._serializers: dict[str, URLSafeSerializer] = {}
        self._opened: OrderedDict[tuple[str, str], Any] = OrderedDict()

    @property
    def key(self) -> str:
        """The key; with a new one nothing that was sealed before opens any more."""
        return self._key

    @key.setter
    def key(self, key: str) -> None:
        if key != self._key:
            self._key = key
            self._serializers.clear()
            self._opened.clear()

    def seal(self, purpose: str, value: Any) -> str:
        """Return a text, of letters that URLs allow, that opens to a JSON value."""
        return str(self._serializer(purpose).dumps(value))

    def open(self, purpose: str, text: str) -> Any:
        """Return the value that was sealed, which must not be changed. Raises InvalidSealError."""
        opened = self._opened.get((purpose, text))
        if opened is None:
            try:
                opened = self._opened[purpose, text] = self._serializer(purpose).loads(text)
            except (BadData, UnicodeError) as error:
                raise InvalidSealError(purpose) from error
            if len(self._opened) > KEPT:
                self._opened.popitem(last=False)
        return opened

    def _serializer(self, purpose: str) -> URLSafeSerializer:
        serializer = self._serializers.get(purpose)
        if serializer is None:
            serializer = self._serializers[purpose] = URLSafeSerializer(self._key, salt=purpose)
        return serializer


def find_key(tx: Transaction) -> str | None:
    """Return the key that is kept."""
    return tx.server_values.get(_KEY)


def load_key(tx: Transaction) -> str:
    """Return the key that is kept, made where there is none."""
    return find_key(tx) or renew_key(tx)


def renew_key(tx: Transaction) -> str:
    """Keep a new key, and return it."""
    key = secrets.token_hex(32)
    tx.server_values.put(_KEY, key)
    return key
