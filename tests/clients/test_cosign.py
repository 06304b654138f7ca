"""cosign: signatures and attestations in tags, as it was, and as referrers, as it is since version 3."""

from __future__ import annotations

import json

import pytest

from tests.clients.conftest import UNTRUSTED

BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
SIGNATURE = "application/vnd.dev.cosign.artifact.sig.v1+json"
IMMUTABLE = "cannot be overwritten because the tag is immutable"
# Signing without the public transparency log, and in which form.
REFERRER = ("--signing-config", "signing.json", "--trusted-root", "root.json")
TAG = ("--use-signing-config=false", "--tlog-upload=false", "--new-bundle-format=false")
OCI_1_1 = (*TAG, "--registry-referrers-mode=oci-1-1")
VERIFIED_BY_TAG = ("--new-bundle-format=false",)
VERIFIED_BY_REFERRER = ("--trusted-root", "root.json")


@pytest.fixture(scope="session")
def make_cosign(make_client):
    """Gives a cosign with a key pair, which knows of no service of Sigstore's."""

    def make():
        cosign = make_client("cosign", COSIGN_PASSWORD="", COSIGN_EXPERIMENTAL="1")
        cosign.run("generate-key-pair")
        cosign.run("signing-config", "create", "--out", "signing.json")
        cosign.run("trusted-root", "create", "--out", "root.json")
        return cosign

    return make


@pytest.fixture(scope="session")
def cosign(make_cosign):
    return make_cosign()


@pytest.fixture(scope="session")
def crane(make_client):
    return make_client("crane")


@pytest.fixture
def push(crane, new_layout):
    """Pushes a new image, or an index of one for each architecture; gives it by digest."""

    def push(repository, tag, *architectures):
        folder, digest = new_layout(f"{repository.uri}:{tag}", *architectures)
        crane.run("push", folder, f"{repository.uri}:{tag}")
        return f"{repository.uri}@{digest}"

    return push


def sign(cosign, form, *args):
    cosign.run("sign", "--yes", "--key", "cosign.key", *form, *args)


def verification(form, *args):
    return ("verify", "--key", "cosign.pub", "--insecure-ignore-tlog", *form, *args)


def signature_tag(image):
    """The tag that the signatures of an image have, in the form that uses tags."""
    return image.partition("@")[2].replace(":", "-") + ".sig"


def test_signature_in_a_tag_is_an_image_of_the_repository(cosign, push, repository, images_in, ecr):
    image = push(repository, "v1")
    assert "no signatures found" in cosign.fail(*verification(VERIFIED_BY_TAG, image))
    sign(cosign, TAG, image)
    [claim] = cosign.json(*verification(VERIFIED_BY_TAG, f"{repository.uri}:v1"))
    digest = image.partition("@")[2]
    assert claim["critical"]["image"]["docker-manifest-digest"] == digest
    tags = [each["imageTags"] for each in images_in(repository.name).values()]
    assert sorted(tags) == [[signature_tag(image)], ["v1"]]
    ecr.batch_delete_image(repositoryName=repository.name, imageIds=[{"imageTag": signature_tag(image)}])
    assert "no signatures found" in cosign.fail(*verification(VERIFIED_BY_TAG, image))


@pytest.mark.parametrize(
    ("form", "verified", "artifact_type"),
    [
        (REFERRER, VERIFIED_BY_REFERRER, BUNDLE),
        (OCI_1_1, (*VERIFIED_BY_TAG, "--experimental-oci11"), SIGNATURE),
    ],
    ids=["bundle", "signature"],
)
def test_signature_is_a_referrer_on_both_planes(
    cosign, push, repository, images_in, referrers_of, ecr, form, verified, artifact_type
):
    image = push(repository, "v1", "amd64", "arm64")
    subject = image.partition("@")[2]
    sign(cosign, form, image)
    [claim] = cosign.json(*verification(verified, f"{repository.uri}:v1"))
    assert claim["critical"]["image"]["docker-manifest-digest"] == subject
    [(signature, kind)] = referrers_of(repository.name, subject).items()
    assert kind == artifact_type
    described = images_in(repository.name)[signature]
    assert described["artifactMediaType"] == artifact_type
    assert described["subjectManifestDigest"] == subject
    assert "imageTags" not in described
    ecr.batch_delete_image(repositoryName=repository.name, imageIds=[{"imageDigest": signature}])
    assert "no signatures found" in cosign.fail(*verification(verified, image))


def test_another_key_verifies_nothing(cosign, make_cosign, push, repository):
    image = push(repository, "v1")
    sign(cosign, REFERRER, image)
    sign(cosign, TAG, image)
    other = make_cosign()
    assert "accepted signatures do not match" in other.fail(*verification(VERIFIED_BY_REFERRER, image))
    assert "invalid signature" in other.fail(*verification(VERIFIED_BY_TAG, image))


def test_each_image_of_an_index_is_signed(cosign, push, repository, manifest_of, referrers_of):
    image = push(repository, "multi", "amd64", "arm64")
    sign(cosign, REFERRER, "--recursive", image)
    digest, index = manifest_of(repository.name, "multi")
    for each in (digest, *(child["digest"] for child in index["manifests"])):
        assert list(referrers_of(repository.name, each).values()) == [BUNDLE]
        cosign.run(*verification(VERIFIED_BY_REFERRER, f"{repository.uri}@{each}"))


def test_attestation_is_a_referrer_beside_the_signature(
    cosign, push, make_repository, referrers_of, tmp_path
):
    repository = make_repository("signed/tags/referrers")
    image = push(repository, "v1")
    sign(cosign, REFERRER, image)
    predicate = tmp_path / "sbom.json"
    predicate.write_text(json.dumps({"spdxVersion": "SPDX-2.3", "name": "app"}))
    attest = ("attest", "--yes", "--key", "cosign.key", *REFERRER, "--type", "spdxjson")
    cosign.run(*attest, "--predicate", predicate, image)
    verify = ("verify-attestation", "--key", "cosign.pub", "--insecure-ignore-tlog", *VERIFIED_BY_REFERRER)
    cosign.run(*verify, "--type", "spdxjson", image)
    assert list(referrers_of(repository.name, image.partition("@")[2]).values()) == [BUNDLE, BUNDLE]
    tree = cosign.run("tree", image)
    assert "https://spdx.dev/Document artifacts via OCI referrer" in tree
    assert "https://sigstore.dev/cosign/sign/v1 artifacts via OCI referrer" in tree


def test_attached_sbom_is_in_a_tag(cosign, push, repository, tags_in, tmp_path):
    image = push(repository, "v1")
    (tmp_path / "sbom.json").write_text('{"spdxVersion": "SPDX-2.3"}')
    cosign.run("attach", "sbom", "--sbom", tmp_path / "sbom.json", "--type", "spdx", image)
    sbom = signature_tag(image).replace(".sig", ".sbom")
    assert [sbom] in tags_in(repository.name).values()
    assert cosign.run("download", "sbom", image) == '{"spdxVersion": "SPDX-2.3"}'


def test_immutable_tags_take_one_signature_and_any_number_of_referrers(
    cosign, make_cosign, push, make_repository, tags_in, referrers_of
):
    repository = make_repository(imageTagMutability="IMMUTABLE")
    image = push(repository, "v1")
    other = make_cosign()
    sign(cosign, TAG, image)
    before = tags_in(repository.name)
    # A second signature is another image under the same tag.
    assert IMMUTABLE in other.fail("sign", "--yes", "--key", "cosign.key", *TAG, image)
    assert {key: tags for key, tags in tags_in(repository.name).items() if tags} == before
    cosign.run(*verification(VERIFIED_BY_TAG, image))
    for signer in (cosign, other):
        sign(signer, REFERRER, image)
        signer.run(*verification(VERIFIED_BY_REFERRER, image))
    assert len(referrers_of(repository.name, image.partition("@")[2])) == 2


def test_signatures_can_be_excluded_from_immutability(cosign, make_cosign, push, make_repository, crane):
    repository = make_repository(
        imageTagMutability="IMMUTABLE_WITH_EXCLUSION",
        imageTagMutabilityExclusionFilters=[{"filterType": "WILDCARD", "filter": "sha256-*"}],
    )
    image = push(repository, "v1")
    signers = (cosign, make_cosign())
    for signer in signers:
        sign(signer, TAG, image)
    for signer in signers:
        signer.run(*verification(VERIFIED_BY_TAG, image))
    push(repository, "v2")
    assert IMMUTABLE in crane.fail("tag", f"{repository.uri}:v2", "v1")


def test_clean_is_refused_as_ecr_refuses_it_and_the_image_stays_signed(cosign, push, repository, tags_in):
    image = push(repository, "v1")
    sign(cosign, TAG, image)
    sign(cosign, REFERRER, image)
    before = tags_in(repository.name)
    _, out, err = cosign.call(("clean", "--force", image), None, {})
    assert f"{signature_tag(image)}: UNSUPPORTED" in out + err
    assert tags_in(repository.name) == before
    for verified in (VERIFIED_BY_TAG, VERIFIED_BY_REFERRER):
        cosign.run(*verification(verified, image))


def test_server_that_asks_for_a_token_takes_it_and_nothing_less(
    make_cosign, make_client, new_layout, token_server, token_password, go_trust
):
    crane, cosign = make_client("crane", **go_trust), make_cosign()
    folder, digest = new_layout("for those who log in")
    crane.run(
        *("auth", "login", token_server.registry, "--username", "AWS", "--password-stdin"),
        stdin=token_password,
    )
    crane.run("push", folder, f"{token_server.registry}/app:cosign")
    image = f"{token_server.registry}/app@{digest}"
    reach = ("--registry-cacert", token_server.ca_file) if token_server.ca_file else ()
    signing = ("sign", "--yes", "--key", "cosign.key", *REFERRER, *reach)
    assert "UNAUTHORIZED" in cosign.fail(*signing, image)
    credentials = ("--registry-username", "AWS", "--registry-password")
    assert "UNAUTHORIZED" in cosign.fail(*signing, *credentials, "wrong", image)
    cosign.run(*signing, *credentials, token_password, image)
    cosign.run("login", token_server.registry, "--username", "AWS", "--password-stdin", stdin=token_password)
    cosign.run(*verification(VERIFIED_BY_REFERRER, *reach, image))
    if reach:
        assert UNTRUSTED in cosign.fail(*verification(VERIFIED_BY_REFERRER, image))
