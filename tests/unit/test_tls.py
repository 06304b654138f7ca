"""TLS: for which names the certificate is, what is kept, and what is made anew."""

import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from ecr_emulator import tls
from ecr_emulator.settings import Settings
from ecr_emulator.tls import certificates, files
from ecr_emulator.tls.names import server_names

NOW = datetime(2030, 1, 31, 12, tzinfo=UTC)
NAMES = frozenset({"127.0.0.1", "::1", "localhost", "*.dkr.ecr.eu-west-1.amazonaws.com"})


def names(**settings):
    return server_names(Settings(**settings), "box")


AUTHORITY = certificates.new_authority(NOW)
DEFAULT_NAMES = names()


@pytest.mark.parametrize(
    "name",
    [
        *("127.0.0.1", "::1", "localhost", "*.localhost", "box"),
        *("*.dkr.ecr.eu-west-1.amazonaws.com", "api.ecr.eu-west-1.amazonaws.com"),
        *("ecr.eu-west-1.amazonaws.com", "ecr.eu-west-1.api.aws", "*.dkr-ecr.eu-west-1.on.aws"),
        *("*.dkr.ecr-fips.us-gov-west-1.amazonaws.com", "ecr-fips.us-east-2.amazonaws.com"),
        *("*.dkr.ecr.cn-north-1.amazonaws.com.cn", "api.ecr.us-iso-east-1.c2s.ic.gov"),
    ],
)
def test_there_is_a_name_for_every_endpoint(name):
    assert name in DEFAULT_NAMES


def test_there_are_no_fips_endpoints_where_aws_has_none():
    assert not [name for name in DEFAULT_NAMES if "fips" in name and "eu-west-1" in name]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"host": "192.0.2.7"}, {"192.0.2.7"}),
        ({"host": "2001:DB8:0::7"}, {"2001:db8::7"}),
        ({"host": "fe80::1%eth0"}, {"fe80::1"}),
        ({"host": "Ecr.Test."}, {"ecr.test"}),
        ({"host": "0.0.0.0"}, set()),
        ({"host": "::"}, set()),
        ({"host": ""}, set()),
        ({"host": "no name"}, set()),
        ({"public_endpoint": "registry.test:4510"}, {"registry.test"}),
        ({"public_endpoint": "[2001:db8::1]:4510"}, {"2001:db8::1"}),
        (
            {"public_endpoint": "{account}.registry.test", "account_id": "123456789012"},
            {"123456789012.registry.test", "*.registry.test"},
        ),
        (
            {"public_endpoint": "ecr-{account}.test", "account_id": "123456789012"},
            {"ecr-123456789012.test", "*.test"},
        ),
        # A wildcard is a whole first label: it can't stand for an account in the middle.
        ({"public_endpoint": "ecr.{account}.test"}, {"ecr.000000000000.test"}),
        (
            {"public_endpoint": "{account}.dkr.ecr.us-east-1.amazonaws.com"},
            {"000000000000.dkr.ecr.us-east-1.amazonaws.com"},
        ),
    ],
)
def test_settings_add_names(settings, expected):
    assert names(**settings) - DEFAULT_NAMES == expected


def test_a_public_endpoint_with_the_region_is_a_name_for_each():
    added = names(public_endpoint="{account}.{region}.test:443", region="moon-base-1") - DEFAULT_NAMES
    assert {"*.eu-west-1.test", "*.us-gov-east-1.test", "*.moon-base-1.test"} <= added


def test_a_region_that_aws_does_not_have_has_names_too():
    assert {"*.dkr.ecr.moon-base-1.amazonaws.com", "api.ecr.moon-base-1.amazonaws.com"} <= names(
        region="moon-base-1"
    )


@given(st.text(max_size=20), st.text(max_size=20) | st.from_regex(r"[{}a-z.\[\]:]*", fullmatch=True))
def test_any_host_and_endpoint_give_names_that_a_certificate_can_have(host, endpoint):
    added = names(host=host, public_endpoint=endpoint) - DEFAULT_NAMES
    certificates.new_server(AUTHORITY, added | {"localhost"}, NOW)


def read(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def certificate_in(folder):
    return x509.load_pem_x509_certificate((folder / "server.pem").read_bytes())


def ensure(folder, names=NAMES, now=NOW):
    files.ensure(folder, names, now)
    return read(folder)


def test_what_still_fits_is_kept(tmp_path):
    made = ensure(tmp_path / "tls")
    assert made.keys() == {"ca.pem", "ca-key.pem", "server.pem"}
    assert ensure(tmp_path / "tls", now=NOW + timedelta(days=300)) == made


def test_only_the_ca_is_for_everybody_to_read(tmp_path):
    made = ensure(tmp_path / "tls")
    modes = {name: (tmp_path / "tls" / name).stat().st_mode & 0o777 for name in made}
    assert modes == {"ca.pem": 0o644, "ca-key.pem": 0o600, "server.pem": 0o600}
    assert b"PRIVATE" not in made["ca.pem"]


def test_the_certificate_is_for_the_names_and_signed_by_the_ca(tmp_path):
    ca = x509.load_pem_x509_certificate(ensure(tmp_path)["ca.pem"])
    certificate = certificate_in(tmp_path)
    certificate.verify_directly_issued_by(ca)
    alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {str(name.value) for name in alternatives} == NAMES
    assert certificate.not_valid_before_utc <= NOW < certificate.not_valid_after_utc
    # Apple's "Requirements for trusted certificates in iOS 13 and macOS 10.15".
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc <= timedelta(days=825)


@pytest.mark.parametrize(
    "changed",
    [
        {"names": NAMES | {"box"}},
        {"names": NAMES - {"::1"}},
        {"now": NOW + timedelta(days=800)},
    ],
    ids=["a name more", "a name less", "about to expire"],
)
def test_a_certificate_that_does_not_fit_is_renewed_and_the_ca_kept(tmp_path, changed):
    made = ensure(tmp_path)
    renewed = ensure(tmp_path, **changed)
    assert renewed["server.pem"] != made["server.pem"]
    assert renewed["ca.pem"] == made["ca.pem"]
    assert renewed["ca-key.pem"] == made["ca-key.pem"]
    assert ensure(tmp_path, **changed) == renewed


def test_a_ca_that_has_expired_is_made_anew_with_a_certificate(tmp_path):
    made = ensure(tmp_path)
    later = NOW + timedelta(days=3650)
    renewed = ensure(tmp_path, now=later)
    assert not renewed.items() & made.items()
    certificate_in(tmp_path).verify_directly_issued_by(x509.load_pem_x509_certificate(renewed["ca.pem"]))
    assert certificate_in(tmp_path).not_valid_after_utc > later


def test_no_certificate_outlives_its_ca(tmp_path):
    ensure(tmp_path)
    renewed = ensure(tmp_path, now=NOW + timedelta(days=3600))
    ca = x509.load_pem_x509_certificate(renewed["ca.pem"])
    assert certificate_in(tmp_path).not_valid_after_utc == ca.not_valid_after_utc


def test_a_certificate_of_another_ca_is_renewed(tmp_path):
    ensure(tmp_path / "one")
    other = ensure(tmp_path / "other")
    (tmp_path / "one" / "server.pem").write_bytes(other["server.pem"])
    assert ensure(tmp_path / "one")["server.pem"] != other["server.pem"]


def test_a_ca_whose_certificate_a_crash_kept_from_the_disk_is_made_anew(tmp_path):
    made = ensure(tmp_path)
    (tmp_path / "ca.pem").unlink()
    (tmp_path / "ca.tmp").write_bytes(b"half")
    (tmp_path / "server.tmp").write_bytes(b"half")
    assert ensure(tmp_path)["ca.pem"] != made["ca.pem"]


@pytest.mark.parametrize("name", ["ca.pem", "ca-key.pem", "server.pem"])
@pytest.mark.parametrize("content", [b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_can_not_be_read_is_reported_and_left_alone(tmp_path, name, content):
    ensure(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(tls.CertificateError, match="can't use the certificates in"):
        ensure(tmp_path)
    assert (tmp_path / name).read_bytes() == content


def test_a_ca_without_its_key_is_reported(tmp_path):
    ensure(tmp_path)
    (tmp_path / "ca-key.pem").unlink()
    with pytest.raises(tls.CertificateError, match=r"ca-key\.pem"):
        ensure(tmp_path)


def test_a_key_of_another_certificate_is_reported(tmp_path):
    ensure(tmp_path / "one")
    other = ensure(tmp_path / "other")
    (tmp_path / "one" / "ca-key.pem").write_bytes(other["ca-key.pem"])
    with pytest.raises(tls.CertificateError, match="the key is not the certificate's"):
        ensure(tmp_path / "one")


def test_only_tls_1_2_and_newer_are_spoken(tmp_path):
    prepared = tls.prepare(Settings(tls="on"), tmp_path)
    assert prepared.context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert prepared.ca_file == tmp_path / "ca.pem"


def test_given_files_are_taken_and_nothing_is_made(tmp_path):
    ensure(tmp_path)
    settings = Settings(
        tls="on", tls_certificate=str(tmp_path / "server.pem"), tls_key=str(tmp_path / "server.pem")
    )
    prepared = tls.prepare(settings, tmp_path / "made")
    assert prepared.ca_file is None
    assert not (tmp_path / "made").exists()


def test_given_files_that_are_no_pair_are_reported(tmp_path):
    ensure(tmp_path)
    settings = Settings(
        tls="on", tls_certificate=str(tmp_path / "server.pem"), tls_key=str(tmp_path / "ca-key.pem")
    )
    with pytest.raises(
        tls.CertificateError, match=r"can't use the certificate .*server\.pem and key .*ca-key"
    ):
        tls.prepare(settings, tmp_path)


def test_an_encrypted_key_is_reported_and_asks_nobody(tmp_path):
    from cryptography.hazmat.primitives import serialization

    encrypted = AUTHORITY.key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    (tmp_path / "key.pem").write_bytes(encrypted)
    (tmp_path / "certificate.pem").write_bytes(AUTHORITY.certificate_pem)
    settings = Settings(
        tls="on", tls_certificate=str(tmp_path / "certificate.pem"), tls_key=str(tmp_path / "key.pem")
    )
    with pytest.raises(tls.CertificateError):
        tls.prepare(settings, tmp_path)
