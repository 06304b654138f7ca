"""Encryption at rest: the keys of a file, and which of them a repository's layers are encrypted with.

The file stands for S3's own keys and for KMS. It has a key for ``AES256``, and one for each KMS key, by its
ARN, or for all accounts and regions by its alias or id. Without a file, what CreateRepository is told of
encryption is recorded only.

What is encrypted has the name of its key, which ends with a fingerprint of the key's bytes: another key
under the same ARN is another key, and what the first one encrypted can be read again once it is back.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import json
import re
import tomllib
from collections.abc import AsyncIterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct, field

from ecr_emulator.blobs.base import Blob, Position, Published, UploadWriter
from ecr_emulator.core import errors
from ecr_emulator.core.registry import Registry

if TYPE_CHECKING:
    from ecr_emulator.blobs.cipher import Cipher
    from ecr_emulator.blobs.encrypted import States

AES256 = "AES256"
# Layers of encryption of each type.
_LAYERS = {AES256: 1, "KMS": 1, "KMS_DSSE": 2}
KEY_SIZE = 32
# The name of the key of what is not encrypted.
NO_KEY = ""

_KMS_ARN = re.compile(r"arn:[^:]+:kms:[^:]*:[^:]*:(?P<resource>(?:key|alias)/.+)")
_KMS_NAME = re.compile(r"alias/[\w/-]+|[\w-]+")


class KeysFileError(Exception):
    """The file with keys can't be used; the message tells a person why."""


class LayerUpload(Protocol):
    """An upload held for one request, encrypted or not."""

    async def append(self, chunks: AsyncIterable[bytes]) -> Position:
        """Append bytes and return how far the upload has come; as UploadWriter."""
        ...

    async def publish(self, digests: Sequence[str]) -> Published:
        """Make the upload a blob; as UploadWriter."""
        ...


class PlainUpload(Struct):
    """An upload of which the store has the bytes as they came."""

    writer: UploadWriter
    size: int

    async def append(self, chunks: AsyncIterable[bytes]) -> Position:
        """Append bytes."""
        self.size = await self.writer.append(self.size, chunks)
        return Position(self.size, self.size)

    async def publish(self, digests: Sequence[str]) -> Published:
        """Make the upload a blob."""
        return await self.writer.publish(self.size, digests)


class Encryption(Struct, frozen=True, dict=True):
    """What a server encrypts with: keys by the names that the file has for them, or none."""

    keys: Mapping[str, bytes] = field(default_factory=dict)

    @classmethod
    def load(cls, path: str) -> Encryption:
        """Read the file with keys; '' stands for none. Raises KeysFileError."""
        return cls(_read(Path(path))) if path else cls()

    def key_name(self, registry: Registry, encryption_type: str, kms_key: str | None) -> str:
        """Return the name of the key for what comes into a repository. Raises KmsException."""
        if not self.keys:
            return NO_KEY
        label = encryption_type if kms_key is None else f"{encryption_type} {kms_arn(registry, kms_key)}"
        return f"{label} {fingerprint(self._key(label))}"

    def cipher(self, key_name: str) -> Cipher:
        """Return what encrypts and decrypts with a key. Raises KmsException."""
        from ecr_emulator.blobs.cipher import Cipher

        label, _, wanted = key_name.rpartition(" ")
        key = self._key(label)
        if fingerprint(key) != wanted:
            raise errors.KmsException(
                f"The key '{_shown(label)}' is not the one that this is encrypted with",
                kmsError="IncorrectKeyException",
            )
        return Cipher(key, _LAYERS[label.partition(" ")[0]])

    @contextlib.contextmanager
    def upload(
        self, writer: UploadWriter, upload_id: str, key_name: str, position: Position
    ) -> Iterator[LayerUpload]:
        """Give the upload that a store's writer holds; the block ends once it has acknowledged what it did.

        Raises KmsException.
        """
        if key_name == NO_KEY:
            yield PlainUpload(writer, position.size)
            return
        from ecr_emulator.blobs.encrypted import EncryptedUpload

        upload = EncryptedUpload(writer, upload_id, position, self.cipher(key_name), self._states)
        yield upload
        upload.keep()

    async def decrypted(self, blob: Blob, key_name: str) -> Blob:
        """Return what the plaintext of a store's blob can be read from. Raises KmsException."""
        if key_name == NO_KEY:
            return blob
        from ecr_emulator.blobs.encrypted import decrypted

        return await decrypted(blob, self.cipher(key_name))

    @cached_property
    def _states(self) -> States:
        from ecr_emulator.blobs.encrypted import States

        return States()

    def _key(self, label: str) -> bytes:
        """Return the key that the first part of its name stands for. Raises KmsException."""
        encryption_type, _, arn = label.partition(" ")
        match = _KMS_ARN.fullmatch(arn)
        resource = match["resource"] if match else arn
        candidates = [arn, resource, resource.removeprefix("key/")] if arn else [encryption_type]
        for candidate in candidates:
            if candidate in self.keys:
                return self.keys[candidate]
        raise errors.KmsException(f"Key '{_shown(label)}' does not exist", kmsError="NotFoundException")


NO_ENCRYPTION = Encryption()


def _shown(label: str) -> str:
    encryption_type, _, arn = label.partition(" ")
    return arn or encryption_type


def kms_arn(registry: Registry, kms_key: str) -> str:
    """Return the ARN of a key that CreateRepository was given by its ARN, alias or id."""
    if kms_key.startswith("arn:"):
        return kms_key
    resource = kms_key if kms_key.startswith("alias/") else f"key/{kms_key}"
    return f"arn:{registry.partition}:kms:{registry.region}:{registry.account}:{resource}"


def fingerprint(key: bytes) -> str:
    """Return a text by which a key is known, and from which nothing of it is."""
    return hmac.new(key, b"ecr-emulator fingerprint", hashlib.sha256).hexdigest()[:16]


def _read(path: Path) -> dict[str, bytes]:
    try:
        text = path.read_text()
        document = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise KeysFileError(f"can't read the keys in {path}: {error}") from error
    if not isinstance(document, dict) or AES256 not in document:
        raise KeysFileError(f"{path} must have a key for {AES256}")
    return {_checked_name(path, name): _parse(path, name, value) for name, value in document.items()}


def _checked_name(path: Path, name: str) -> str:
    if not (_KMS_ARN.fullmatch(name) or _KMS_NAME.fullmatch(name)):
        raise KeysFileError(f"{path} must name {AES256} and ARNs, aliases and ids of KMS keys, not {name!r}")
    return name


def _parse(path: Path, name: str, value: Any) -> bytes:
    """Return a key. Raises KeysFileError, which does not show it."""
    if isinstance(value, str):
        for decode in (bytes.fromhex, _from_base64):
            try:
                key = decode(value)
            except ValueError:
                continue
            if len(key) == KEY_SIZE:
                return key
    raise KeysFileError(f"{path} must have {KEY_SIZE} bytes, in base64 or hex, for {name}")


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(text) from error
