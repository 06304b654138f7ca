"""Signatures of what is pushed, verified by the Notary Project's own implementation, notation-go."""

import json

import pytest

from tests.clients.conftest import Client
from tests.serving import ROOT, get

VERIFIER = ROOT / "build" / "bin" / "notation-verify"
PROFILE = "arn:aws:signer:us-east-1:111122223333:/signing-profiles/release"
SUBJECT = "x509.subject: C=US, ST=WA, O=111122223333, CN="


@pytest.fixture(autouse=True)
def _signing(ecr):
    """Let every image that is pushed be signed."""
    ecr.put_signing_configuration(signingConfiguration={"rules": [{"signingProfileArn": PROFILE}]})
    yield
    ecr.delete_signing_configuration()


@pytest.fixture
def push(skopeo, make_image, write_layout, repository, server, tmp_path):
    """Pushes an image, or an index of several, and waits until it is signed; gives its digest."""

    def push(tag, *architectures):
        images = [make_image(tag, architecture=name) for name in architectures]
        digest = write_layout(tmp_path / tag, tag, *images)
        source, target = f"oci:{tmp_path}/{tag}:{tag}", f"docker://{repository.uri}:{tag}"
        skopeo.run("copy", "--all", "--preserve-digests", "--dest-tls-verify=false", source, target)
        get(f"{server.url}/_emulator/run/signing", b"")
        return digest

    return push


@pytest.fixture(scope="session")
def certificate(server):
    """The certificate that a user of the server is to trust."""
    return get(f"{server.url}/_emulator/signing/certificates")


@pytest.fixture
def notation(certificate, tmp_path_factory):
    """A verifier that trusts certificates of signing authorities, and identities."""

    def notation(trusted=certificate, identity="*"):
        assert VERIFIER.exists(), "the verifier is not installed: run scripts/install_clients.sh"
        home = tmp_path_factory.mktemp("notation")
        folder = home / ".config" / "notation"
        store = folder / "truststore" / "x509" / "signingAuthority" / "emulator"
        store.mkdir(parents=True)
        (store / "root.pem").write_bytes(trusted)
        policy = {
            "name": "emulator",
            "registryScopes": ["*"],
            "signatureVerification": {"level": "strict"},
            "trustStores": ["signingAuthority:emulator"],
            "trustedIdentities": [identity],
        }
        (folder / "trustpolicy.json").write_text(json.dumps({"version": "1.0", "trustPolicies": [policy]}))
        (folder / "trustpolicy.json").chmod(0o600)
        return Client(str(VERIFIER), home=home)

    return notation


@pytest.mark.parametrize("architectures", [("amd64",), ("amd64", "arm64")], ids=["image", "index"])
def test_what_is_pushed_is_verified_by_tag_and_by_digest(notation, push, repository, architectures):
    digest = push("v1", *architectures)
    for reference in (f"{repository.uri}:v1", f"{repository.uri}@{digest}"):
        verified = notation().json(reference)
        assert verified["target"]["digest"] == digest
        assert verified["subject"] == "CN=release,O=111122223333,ST=WA,C=US"
        [attribute] = verified["extended"]
        assert attribute["Key"] == "com.amazonaws.signer.signingProfileVersion"
        assert attribute["Value"].rpartition("/")[0] == PROFILE


def test_each_image_of_an_index_is_verified_too(notation, push, repository, manifest_of):
    push("v1", "amd64", "arm64")
    _, index = manifest_of(repository.name, "v1")
    for child in index["manifests"]:
        verified = notation().json(f"{repository.uri}@{child['digest']}")
        assert verified["target"]["digest"] == child["digest"]


def test_only_the_identity_of_the_profile_is_trusted_where_the_policy_names_one(notation, push, repository):
    digest = push("v1", "amd64")
    reference = f"{repository.uri}:v1"
    trusted = notation(identity=f"{SUBJECT}release").json(reference)
    assert trusted["target"]["digest"] == digest
    assert "does not match the X.509 trusted identities" in notation(identity=f"{SUBJECT}other").fail(
        reference
    )


def test_the_servers_certificate_is_what_makes_a_signature_trusted(notation, push, repository, tmp_path):
    push("v1", "amd64")
    other = tmp_path / "other.pem"
    openssl = Client("openssl", home=tmp_path)
    openssl.run(
        *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", tmp_path / "key.pem", "-out", other),
        *("-subj", "/C=US/ST=WA/O=Somebody else/CN=root", "-addext", "keyUsage=critical,keyCertSign"),
    )
    assert "does not contain any trusted certificate" in notation(other.read_bytes()).fail(
        f"{repository.uri}:v1"
    )


def test_what_was_pushed_without_a_rule_has_no_signature(ecr, notation, push, repository):
    ecr.put_signing_configuration(signingConfiguration={"rules": []})
    push("v1", "amd64")
    assert "no signature is associated" in notation().fail(f"{repository.uri}:v1")


def test_a_signature_of_another_image_is_refused(ecr, notation, push, repository):
    """The signature of one image, put beside another as if it were its own."""
    digest = push("v1", "amd64")
    ecr.put_signing_configuration(signingConfiguration={"rules": []})
    other = push("v2", "arm64")
    [signature] = [
        image["imageDigest"]
        for image in ecr.describe_images(repositoryName=repository.name)["imageDetails"]
        if image.get("subjectManifestDigest") == digest
    ]
    [found] = ecr.batch_get_image(repositoryName=repository.name, imageIds=[{"imageDigest": signature}])[
        "images"
    ]
    manifest = json.loads(found["imageManifest"])
    manifest["subject"]["digest"] = other
    ecr.put_image(repositoryName=repository.name, imageManifest=json.dumps(manifest))
    assert "content descriptor mismatch" in notation().fail(f"{repository.uri}:v2")
    assert notation().json(f"{repository.uri}:v1")["target"]["digest"] == digest
