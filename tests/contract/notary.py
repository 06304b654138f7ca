"""Verifies signatures by the Notary Project's specifications, sharing no code with what makes them."""

import base64
import hashlib
import json
import re
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512
from cryptography.hazmat.primitives.serialization import Encoding

SCHEME = "io.cncf.notary.signingScheme"
SIGNING_TIME = "io.cncf.notary.authenticSigningTime"
EXPIRY = "io.cncf.notary.expiry"
PROFILE_VERSION = "com.amazonaws.signer.signingProfileVersion"

# By the size of the signing key (Signature Specification, "Algorithm Selection").
ALGORITHMS = {256: ("ES256", SHA256), 384: ("ES384", SHA384), 521: ("ES512", SHA512)}
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


class InvalidEnvelopeError(Exception):
    """A signature is not one by the specifications, or not one of the target."""


def check(condition: object, rule: str) -> None:
    if not condition:
        raise InvalidEnvelopeError(rule)


def decode(text: str) -> bytes:
    """Decode base64url as RFC 7515 has it: one spelling for each value, without padding."""
    check(re.fullmatch(r"[A-Za-z0-9_-]+", text), "base64url alphabet")
    content = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    check(base64.urlsafe_b64encode(content).rstrip(b"=").decode() == text, "base64url spelling")
    return content


def verify(envelope: bytes, target: dict[str, Any], root_pem: bytes) -> dict[str, Any]:
    """Verify that an envelope signs a descriptor and is to be trusted for a root.

    Returns the protected header. Raises InvalidEnvelopeError.
    """
    document = json.loads(envelope)
    check(document.keys() == {"payload", "protected", "header", "signature"}, "flattened JSON serialization")
    check(document["header"].keys() == {"x5c"}, "unprotected headers")
    chain = [x509.load_der_x509_certificate(base64.b64decode(text)) for text in document["header"]["x5c"]]
    _verify_chain(chain, root_pem)
    _verify_signature(document, chain[0])
    header = json.loads(decode(document["protected"]))
    _verify_header(header, chain)
    check(json.loads(decode(document["payload"])) == {"targetArtifact": target}, "payload")
    return header


def subject_of(envelope: bytes) -> str:
    """Return the distinguished name of an envelope's signing certificate."""
    leaf = json.loads(envelope)["header"]["x5c"][0]
    return x509.load_der_x509_certificate(base64.b64decode(leaf)).subject.rfc4514_string()


def thumbprints(envelope: bytes) -> list[str]:
    """Return the SHA-256 fingerprints of an envelope's chain, the signing certificate's first."""
    chain = json.loads(envelope)["header"]["x5c"]
    return [hashlib.sha256(base64.b64decode(text)).hexdigest() for text in chain]


def _verify_signature(document: dict[str, str], leaf: x509.Certificate) -> None:
    key = leaf.public_key()
    check(isinstance(key, ec.EllipticCurvePublicKey) and key.key_size in ALGORITHMS, "signing key")
    name, hash_type = ALGORITHMS[key.key_size]
    signature = decode(document["signature"])
    size = (key.key_size + 7) // 8
    check(len(signature) == 2 * size, "length of the signature")
    numbers = (int.from_bytes(half, "big") for half in (signature[:size], signature[size:]))
    signed = f"{document['protected']}.{document['payload']}".encode("ascii")
    try:
        key.verify(utils.encode_dss_signature(*numbers), signed, ec.ECDSA(hash_type()))
    except InvalidSignature:
        raise InvalidEnvelopeError("signature") from None
    check(json.loads(decode(document["protected"]))["alg"] == name, "algorithm of the signing key")


def _verify_header(header: dict[str, Any], chain: list[x509.Certificate]) -> None:
    known = {"alg", "cty", "crit", SCHEME, SIGNING_TIME, EXPIRY}
    check(header["cty"] == "application/vnd.cncf.notary.payload.v1+json", "content type")
    check(header[SCHEME] == "notary.x509.signingAuthority", "signing scheme")
    # A header that is critical and unknown to a verifier without plugins would be refused.
    check(len(header["crit"]) == 3, "critical headers")
    check(set(header["crit"]) == {SCHEME, SIGNING_TIME, EXPIRY}, "critical headers")
    check(header.keys() - known == {PROFILE_VERSION}, "further headers")
    for name in (SIGNING_TIME, EXPIRY):
        check(_RFC_3339.fullmatch(header[name]), "times are RFC 3339 without fractions")
    signed_at = datetime.fromisoformat(header[SIGNING_TIME])
    check(signed_at < datetime.fromisoformat(header[EXPIRY]), "expiry")
    for certificate in chain:
        check(
            certificate.not_valid_before_utc <= signed_at <= certificate.not_valid_after_utc,
            "certificates are valid at the signing time",
        )


def _verify_chain(chain: list[x509.Certificate], root_pem: bytes) -> None:
    """Check "Certificate Requirements" of the Signature Specification."""
    leaf, *authorities = chain
    check(authorities, "a chain with a root")
    root = authorities[-1]
    trusted = x509.load_pem_x509_certificates(root_pem)
    check([root.public_bytes(Encoding.DER)] == [c.public_bytes(Encoding.DER) for c in trusted], "trust")
    for certificate, issuer in zip(chain, [*authorities, root], strict=True):
        certificate.verify_directly_issued_by(issuer)
        algorithm = certificate.signature_hash_algorithm
        check(algorithm is not None and algorithm.name != "sha1", "hash of certificates")
    for depth, certificate in enumerate(authorities):
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
        check(constraints.critical and constraints.value.ca, "basic constraints of an authority")
        check(constraints.value.path_length in (None, depth), "path length")
        check(usage.critical and usage.value.key_cert_sign, "key usage of an authority")
    constraints = leaf.extensions.get_extension_for_class(x509.BasicConstraints)
    check(not constraints.value.ca, "basic constraints of the signing certificate")
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage)
    check(usage.critical and usage.value.digital_signature, "key usage of the signing certificate")
    others = ("key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign", "crl_sign")
    check(not any(getattr(usage.value, name) for name in others), "key usage of the signing certificate")
    purposes = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    check(list(purposes) == [x509.ExtendedKeyUsageOID.CODE_SIGNING], "purpose of the signing certificate")
