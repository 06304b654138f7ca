"""The folder with the CA and the server's certificate, which are made there and renewed when need be.

``ca.pem`` is the CA's certificate, for everybody to trust; ``ca-key.pem`` its key, and ``server.pem`` the
server's key and certificate, for the server alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from collections.abc import Collection, Iterator
from datetime import datetime
from pathlib import Path

from msgspec import Struct

from ecr_emulator.tls.certificates import Signed, is_current, is_for, load, new_authority, new_server

_logger = logging.getLogger(__name__)

_PRIVATE, _PUBLIC = 0o600, 0o644


class CertificateError(Exception):
    """There is no certificate that the server could show; the message tells a person why."""


class Files(Struct, frozen=True):
    """Where the CA's certificate is, and the server's with its key."""

    authority: Path
    server: Path


def ensure(folder: Path, names: Collection[str], now: datetime) -> Files:
    """Return files with a CA and with a certificate of it that is valid now for just these names.

    What is there and still fits is kept, the CA until its own end. Raises CertificateError.
    """
    files = Files(folder / "ca.pem", folder / "server.pem")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder):
            authority = _authority(files.authority, folder / "ca-key.pem", now)
            if not _fits(files.server, authority, names, now):
                server = new_server(authority, names, now)
                # One file, so that no crash parts a certificate from its key.
                _write(files.server, server.key_pem + server.certificate_pem, _PRIVATE)
    except (OSError, ValueError) as error:
        raise CertificateError(
            f"can't use the certificates in {folder}: {error}; without that folder, the server makes new "
            "ones, and clients have to trust a new CA"
        ) from error
    return files


def _authority(certificate: Path, key: Path, now: datetime) -> Signed:
    """Return the CA. One whose certificate was never written, or has expired, is made anew."""
    if certificate.exists():
        authority = load(key.read_bytes(), certificate.read_bytes())
        if is_current(authority.certificate, now):
            return authority
    authority = new_authority(now)
    # The certificate last: what is not trusted yet can be made again.
    _write(key, authority.key_pem, _PRIVATE)
    _write(certificate, authority.certificate_pem, _PUBLIC)
    _logger.info("made a new CA, which no client trusts yet")
    return authority


def _fits(server: Path, authority: Signed, names: Collection[str], now: datetime) -> bool:
    if not server.exists():
        return False
    pem = server.read_bytes()
    certificate = load(pem, pem).certificate
    return is_current(certificate, now) and is_for(certificate, authority.certificate, names)


def _write(path: Path, content: bytes, mode: int) -> None:
    """Write a file whole or not at all, never readable for more than ``mode`` allows."""
    unfinished = path.with_suffix(".tmp")
    unfinished.unlink(missing_ok=True)
    with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep servers that share the folder from making different files at once."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
