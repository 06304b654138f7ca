"""The Notary Project's signature format: certificates, JWS envelopes and the manifests that carry them.

Pure but for keys and random numbers. The format is that of the Notary Project's specifications
"Signature Specification", "JWS Signature Envelope" and "Signing Scheme"; which of its choices are
taken is as AWS Signer's signatures of the platform Notation-OCI-SHA384-ECDSA show them: JWS, ES384,
the scheme of a signing authority, which vouches for the signing time, and an expiry.

This module is imported with the first signature: ``cryptography`` takes 60 ms and 16 MB, and the
server must start quickly and stay small.
"""

from __future__ import annotations

import base64
import calendar
import hashlib
import json
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP384R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from msgspec import Struct

from ecr_emulator.blobs.base import digest_of
from ecr_emulator.core.certificates import begin_certificate, key_usage
from ecr_emulator.core.manifest import OCI_MANIFEST, Descriptor

# The PEM text of a private key and its certificate.
Credential = str

SIGNATURE_TYPE = "application/vnd.cncf.notary.signature"
ENVELOPE_TYPE = "application/jose+json"
PAYLOAD_TYPE = "application/vnd.cncf.notary.payload.v1+json"
THUMBPRINTS = "io.cncf.notary.x509chain.thumbprint#S256"
# The content of a signature's config, which nobody reads.
CONFIG = b"{}"
# PutSigningProfile's documentation in the AWS Signer API: how long a signature is valid by default.
VALIDITY_MONTHS = 135

# Bytes of each of the two numbers of a signature on P-384.
_NUMBER_SIZE = 48
# A certificate has to be valid when something is signed, and the server's clock can be set to any time.
_VALID = (datetime(1950, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
_MAX_COMMON_NAME = 64


class Signature(Struct, frozen=True):
    """The manifest by which a registry lists a signature as a referrer, and the blobs that it names."""

    manifest: bytes
    blobs: tuple[bytes, ...]


def new_authority() -> Credential:
    """Make the root of all chains: a new key and a certificate that it signs itself."""
    key = generate_private_key(SECP384R1())
    name = _name("ECR emulator", "ECR emulator signing root")
    builder = begin_certificate(name, name, key, key, _VALID).add_extension(
        x509.BasicConstraints(ca=True, path_length=0), critical=True
    )
    return _credential(key, builder.add_extension(key_usage(signs_certificates=True), critical=True), key)


def new_signer(authority: Credential, account: str, profile_name: str) -> Credential:
    """Make a new key for a signing profile, and a code-signing certificate that the root signs."""
    root_key, root = _load(authority)
    key = generate_private_key(SECP384R1())
    builder = (
        begin_certificate(
            _name(account, profile_name[:_MAX_COMMON_NAME]), root.subject, key, root_key, _VALID
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
    )
    return _credential(key, builder, root_key)


def sign(
    target: Descriptor, profile_arn: str, signer: Credential, authority: Credential, now: float
) -> Signature:
    """Sign the descriptor of a manifest at a time in seconds since 1970, and wrap it up to be stored."""
    key, certificate = _load(signer)
    _, root = _load(authority)
    chain = [_der(certificate), _der(root)]
    thumbprints = [hashlib.sha256(der).hexdigest() for der in chain]
    signed_at = datetime.fromtimestamp(now, UTC).replace(microsecond=0)
    payload = _encoded({"targetArtifact": _descriptor(target)})
    protected = _encoded(_protected_header(f"{profile_arn}/{thumbprints[0][:10]}", signed_at))
    envelope = _json(
        {
            "payload": payload,
            "protected": protected,
            "header": {"x5c": [base64.b64encode(der).decode() for der in chain]},
            "signature": _base64url(_sign(key, f"{protected}.{payload}".encode())),
        }
    )
    annotations = {THUMBPRINTS: json.dumps(thumbprints), "org.opencontainers.image.created": _text(signed_at)}
    return Signature(_manifest(target, envelope, annotations), (CONFIG, envelope))


def expiry_of(signed_at: datetime) -> datetime:
    """Return when a signature expires: the same day of a later month, or that month's last day.

    Years end with 9999, and so does validity.
    """
    years, month = divmod(signed_at.month - 1 + VALIDITY_MONTHS, 12)
    year, month = signed_at.year + years, month + 1
    if year > _VALID[1].year:
        return _VALID[1]
    day = min(signed_at.day, calendar.monthrange(year, month)[1])
    return signed_at.replace(year=year, month=month, day=day)


def _protected_header(profile_version: str, signed_at: datetime) -> dict[str, Any]:
    """Return what is signed beside the payload.

    AWS Signer marks its own attribute critical and names a plugin that asks AWS about revocation,
    without which a signature can't be verified. Here neither is done.
    """
    critical = {
        "io.cncf.notary.signingScheme": "notary.x509.signingAuthority",
        "io.cncf.notary.authenticSigningTime": _text(signed_at),
        "io.cncf.notary.expiry": _text(expiry_of(signed_at)),
    }
    return {
        "alg": "ES384",
        "cty": PAYLOAD_TYPE,
        "crit": list(critical),
        **critical,
        "com.amazonaws.signer.signingProfileVersion": profile_version,
    }


def _manifest(target: Descriptor, envelope: bytes, annotations: dict[str, str]) -> bytes:
    return _json(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": SIGNATURE_TYPE,
            "config": {"mediaType": SIGNATURE_TYPE, "digest": digest_of(CONFIG), "size": len(CONFIG)},
            "layers": [{"mediaType": ENVELOPE_TYPE, "digest": digest_of(envelope), "size": len(envelope)}],
            "subject": _descriptor(target),
            "annotations": annotations,
        }
    )


def _sign(key: EllipticCurvePrivateKey, content: bytes) -> bytes:
    """Sign as ES384 does: the two numbers one after the other (RFC 7518, section 3.4)."""
    numbers = decode_dss_signature(key.sign(content, ECDSA(SHA384())))
    return b"".join(number.to_bytes(_NUMBER_SIZE, "big") for number in numbers)


def _name(organization: str, common_name: str) -> x509.Name:
    """Return a distinguished name with the parts that a trust policy's identities must have."""
    parts = {
        NameOID.COUNTRY_NAME: "US",
        NameOID.STATE_OR_PROVINCE_NAME: "WA",
        NameOID.ORGANIZATION_NAME: organization,
        NameOID.COMMON_NAME: common_name,
    }
    return x509.Name([x509.NameAttribute(kind, value) for kind, value in parts.items()])


def _credential(
    key: EllipticCurvePrivateKey, builder: x509.CertificateBuilder, issuer_key: EllipticCurvePrivateKey
) -> Credential:
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return (private + builder.sign(issuer_key, SHA384()).public_bytes(Encoding.PEM)).decode()


def _load(credential: Credential) -> tuple[EllipticCurvePrivateKey, x509.Certificate]:
    key = load_pem_private_key(credential.encode(), password=None)
    if not isinstance(key, EllipticCurvePrivateKey):
        raise TypeError("not a key of an elliptic curve")
    return key, x509.load_pem_x509_certificate(credential.encode())


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


def _descriptor(target: Descriptor) -> dict[str, Any]:
    return {"mediaType": target.media_type, "digest": target.digest, "size": target.size}


def _text(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _encoded(value: dict[str, Any]) -> str:
    return _base64url(_json(value))


def _base64url(content: bytes) -> str:
    """Encode as RFC 7515 does, without padding."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
