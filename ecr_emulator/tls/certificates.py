"""Certificates: a CA's own and those that it signs. Pure but for keys and serial numbers."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from msgspec import Struct

from ecr_emulator.core.certificates import begin_certificate, key_usage

# macOS takes no server's certificate that is valid for more than 825 days.
_SERVER_VALIDITY = timedelta(days=820)
_AUTHORITY_VALIDITY = timedelta(days=3650)
# Clocks differ.
_TOLERANCE = timedelta(days=1)
# What is closer to its end than this is renewed.
_RENEWAL = timedelta(days=30)


class Signed(Struct, frozen=True):
    """A certificate and its private key."""

    key: EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def key_pem(self) -> bytes:
        """The private key in PEM."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def certificate_pem(self) -> bytes:
        """The certificate in PEM."""
        return self.certificate.public_bytes(Encoding.PEM)


def load(key_pem: bytes, certificate_pem: bytes) -> Signed:
    """Return a certificate and its key from PEM. Raises ValueError where they are none, or no pair."""
    key = load_pem_private_key(key_pem, password=None)
    certificate = x509.load_pem_x509_certificate(certificate_pem)
    if not isinstance(key, EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise ValueError("the key is not the certificate's")
    return Signed(key, certificate)


def new_authority(now: datetime) -> Signed:
    """Make a CA: a new key, and a certificate that it signs itself."""
    key = generate_private_key(SECP256R1())
    # Several of them can be trusted side by side; the serial number tells which is which.
    subject = _name(f"ECR emulator CA {x509.random_serial_number():x}"[:32])
    builder = (
        begin_certificate(subject, subject, key, key, (now - _TOLERANCE, now + _AUTHORITY_VALIDITY))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage(signs_certificates=True), critical=True)
    )
    return Signed(key, builder.sign(key, SHA256()))


def new_server(authority: Signed, names: Iterable[str], now: datetime) -> Signed:
    """Make a key for a server, and a certificate for host names and addresses that a CA signs."""
    key = generate_private_key(SECP256R1())
    issuer = authority.certificate
    ends = min(now + _SERVER_VALIDITY, issuer.not_valid_after_utc)
    builder = (
        begin_certificate(_name("ECR emulator"), issuer.subject, key, authority.key, (now - _TOLERANCE, ends))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(map(_general_name, sorted(names))), critical=False)
    )
    return Signed(key, builder.sign(authority.key, SHA256()))


def is_current(certificate: x509.Certificate, now: datetime) -> bool:
    """Tell whether a certificate is valid, and will be for some time."""
    return certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc - _RENEWAL


def is_for(certificate: x509.Certificate, authority: x509.Certificate, names: Iterable[str]) -> bool:
    """Tell whether a certificate is for just these names, and was signed by an authority."""
    alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return set(alternatives) == set(map(_general_name, names))


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
