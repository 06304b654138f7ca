"""TLS: the certificate that the server shows, given or made, and whom clients have to trust for it.

Only a server that speaks TLS imports this package: ``cryptography`` takes 60 ms and 16 MB.
"""

from __future__ import annotations

import socket
import ssl
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct

from ecr_emulator.settings import Settings
from ecr_emulator.tls.files import CertificateError, ensure
from ecr_emulator.tls.names import server_names

__all__ = ["CertificateError", "ServerTls", "prepare"]


class ServerTls(Struct, frozen=True):
    """What a server needs to speak TLS."""

    context: ssl.SSLContext

    ca_file: Path | None
    """The certificate to trust, in PEM; None where the server's own was given."""


def prepare(settings: Settings, folder: Path) -> ServerTls:
    """Return what the settings ask for; what is made is kept in ``folder``. Raises CertificateError."""
    if settings.tls_certificate:
        return ServerTls(_context(Path(settings.tls_certificate), Path(settings.tls_key)), None)
    # Real time: clients judge a certificate by their own clocks, not by the emulator's.
    files = ensure(folder, server_names(settings, socket.gethostname()), datetime.now(UTC))
    return ServerTls(_context(files.server, files.server), files.authority)


def _context(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        # Without a password OpenSSL would ask the terminal for that of an encrypted key.
        context.load_cert_chain(certificate, key, password="")
    except OSError as error:
        raise CertificateError(f"can't use the certificate {certificate} and key {key}: {error}") from error
    return context
