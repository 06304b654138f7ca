"""regctl: images, indexes and artifacts, uploads in chunks, and how it deletes tags."""

from __future__ import annotations

import pytest

from tests.clients.conftest import UNTRUSTED

SBOM, SCAN = "application/spdx+json", "application/vnd.example.scan"


@pytest.fixture(scope="session")
def make_regctl(make_client):
    """Gives a client that talks plain HTTP to a server, or trusts its CA."""

    def make(server):
        regctl = make_client("regctl", "--verbosity", "error")
        reach = ("--cacert", server.ca_file.read_text()) if server.ca_file else ("--tls", "disabled")
        regctl.run("registry", "set", "--skip-check", *reach, server.registry)
        return regctl

    return make


@pytest.fixture(scope="session")
def regctl(make_regctl, server):
    return make_regctl(server)


@pytest.fixture
def push(regctl, new_layout):
    """Pushes a new image, or an index of one for each architecture; gives the digest."""

    def push(ref, *architectures):
        folder, digest = new_layout(ref, *architectures)
        regctl.run("image", "copy", f"ocidir://{folder}:v1", ref)
        return digest

    return push


@pytest.fixture
def attach(regctl):
    """Puts an artifact that refers to an image; gives its digest."""

    def attach(ref, artifact_type, content="attached"):
        return regctl.run(
            *("artifact", "put", "--subject", ref, "--artifact-type", artifact_type),
            *("--file-media-type", "text/plain", "--format", "{{.Manifest.GetDescriptor.Digest}}"),
            stdin=content,
        )

    return attach


@pytest.fixture
def referrers(regctl):
    """What regctl finds to refer to an image: artifact types by digest."""

    def referrers(ref, *flags):
        found = regctl.json("artifact", "list", "--format", "{{json .}}", *flags, ref)["descriptors"] or []
        return {entry["digest"]: entry["artifactType"] for entry in found}

    return referrers


def test_index_is_copied_in_and_out_byte_for_byte(regctl, new_layout, repository, tags_in, tmp_path):
    folder, digest = new_layout("by regctl", "amd64", "arm64")
    ref = f"{repository.uri}:v1"
    regctl.run("image", "copy", f"ocidir://{folder}:v1", ref)
    stored = (folder / "blobs" / "sha256" / digest.removeprefix("sha256:")).read_text()
    assert regctl.run("manifest", "get", "--format", "raw-body", ref) == stored
    assert regctl.run("manifest", "head", ref) == digest
    arm = regctl.run("manifest", "head", "--platform", "linux/arm64", ref)
    assert tags_in(repository.name)[digest] == ["v1"]
    assert tags_in(repository.name)[arm] == []
    assert regctl.run("tag", "ls", repository.uri) == "v1"
    regctl.run("image", "copy", ref, f"ocidir://{tmp_path}/out:v1")
    for blob in (folder / "blobs" / "sha256").iterdir():
        assert (tmp_path / "out" / "blobs" / "sha256" / blob.name).read_bytes() == blob.read_bytes()


def test_tags_are_listed_in_pages(regctl, push, repository):
    push(f"{repository.uri}:v1")
    for tag in ("v2", "v3"):
        regctl.run("image", "copy", f"{repository.uri}:v1", f"{repository.uri}:{tag}")
    assert regctl.run("tag", "ls", "--limit", "2", repository.uri).split() == ["v1", "v2"]
    assert regctl.run("tag", "ls", "--limit", "2", "--last", "v2", repository.uri).split() == ["v3"]


def test_large_layer_goes_up_in_chunks(make_regctl, new_layout, repository, server, images_in):
    regctl = make_regctl(server)
    chunks = ("--blob-chunk", str(1 << 20), "--blob-max", str(1 << 20))
    regctl.run("registry", "set", "--skip-check", *chunks, server.registry)
    folder, digest = new_layout("in chunks", padding=5 << 20)
    regctl.run("image", "copy", f"ocidir://{folder}:v1", f"{repository.uri}:v1")
    assert images_in(repository.name)[digest]["imageSizeInBytes"] > 5 << 20
    manifest = regctl.json("manifest", "get", "--format", "raw-body", f"{repository.uri}:v1")
    layer = manifest["layers"][0]
    head = regctl.run("blob", "head", repository.uri, layer["digest"])
    assert f"Content-Length: {layer['size']}" in head


def test_artifacts_are_referrers_on_both_planes(
    regctl, push, attach, referrers, repository, images_in, referrers_of
):
    ref = f"{repository.uri}:v1"
    subject = push(ref, "amd64", "arm64")
    sbom, scan = attach(ref, SBOM, "the SBOM"), attach(ref, SCAN)
    assert referrers(ref) == referrers_of(repository.name, subject) == {sbom: SBOM, scan: SCAN}
    assert referrers(ref, "--filter-artifact-type", SCAN) == {scan: SCAN}
    described = images_in(repository.name)[sbom]
    assert described["artifactMediaType"] == SBOM
    assert described["subjectManifestDigest"] == subject
    assert regctl.run("artifact", "get", "--subject", ref, "--filter-artifact-type", SBOM) == "the SBOM"


def test_artifact_without_a_subject_has_a_tag(regctl, repository, images_in):
    ref = f"{repository.uri}:notes"
    regctl.run("artifact", "put", "--artifact-type", SCAN, ref, stdin="notes")
    [described] = images_in(repository.name).values()
    assert described["imageTags"] == ["notes"]
    assert described["artifactMediaType"] == SCAN
    assert regctl.run("artifact", "get", ref) == "notes"


def test_copy_takes_referrers_along(regctl, push, attach, referrers, make_repository, referrers_of):
    for name in ("mirror/tags", "mirror/blobs/uploads"):
        source, target = make_repository(), make_repository(name)
        subject = push(f"{source.uri}:v1")
        sbom = attach(f"{source.uri}:v1", SBOM)
        regctl.run("image", "copy", "--referrers", f"{source.uri}:v1", f"{target.uri}:v1")
        assert referrers(f"{target.uri}:v1") == referrers_of(name, subject) == {sbom: SBOM}


def test_index_is_made_of_images_that_are_there(regctl, push, repository, manifest_of):
    children = [push(f"{repository.uri}:{name}", name) for name in ("amd64", "arm64")]
    refs = [flag for name in ("amd64", "arm64") for flag in ("--ref", f"{repository.uri}:{name}")]
    regctl.run("index", "create", f"{repository.uri}:both", *refs)
    _, index = manifest_of(repository.name, "both")
    assert [child["digest"] for child in index["manifests"]] == children


def test_deletes_are_refused_as_ecr_refuses_them_and_nothing_is_gone(
    regctl, push, attach, make_repository, tags_in
):
    repository = make_repository(imageTagMutability="IMMUTABLE")
    ref = f"{repository.uri}:v1"
    digest = push(ref)
    sbom = attach(ref, SBOM)
    before = tags_in(repository.name)
    for reference in (digest, sbom):
        said = regctl.fail("manifest", "delete", f"{repository.uri}@{reference}")
        assert "http 405" in said
        assert "UNSUPPORTED" in said
    # Where a tag can't be deleted, regctl pushes something else under it, to delete that: see below.
    assert "cannot be overwritten because the tag is immutable" in regctl.fail("tag", "delete", ref)
    assert tags_in(repository.name) == before


def test_refused_delete_of_a_mutable_tag_moves_it_and_leaves_the_image(regctl, push, repository, tags_in):
    """What regctl does to any registry, ECR too, that deletes neither tags nor manifests."""
    ref = f"{repository.uri}:v1"
    digest = push(ref)
    assert "http 405" in regctl.fail("tag", "delete", ref)
    moved = regctl.run("manifest", "head", ref)
    assert tags_in(repository.name) == {digest: [], moved: ["v1"]}
    assert regctl.run("manifest", "head", f"{repository.uri}@{digest}") == digest


def test_push_to_a_repository_that_does_not_exist_fails_with_ecrs_text(regctl, new_layout, server):
    folder, _ = new_layout("lost")
    said = regctl.fail("image", "copy", f"ocidir://{folder}:v1", f"{server.registry}/no/such:v1")
    assert "The repository with name 'no/such' does not exist in the registry with id" in said


def test_server_that_asks_for_a_token_takes_it_and_nothing_less(
    make_client, make_regctl, new_layout, token_server, token_password, tmp_path
):
    regctl = make_regctl(token_server)
    folder, digest = new_layout("for those who log in")
    ref = f"{token_server.registry}/app:regctl"
    copy = ("image", "copy", f"ocidir://{folder}:v1", ref)
    login = ("registry", "login", token_server.registry, "--user", "AWS", "--pass-stdin")
    assert "unauthorized" in regctl.fail(*copy)
    assert "unauthorized" in regctl.fail(*login, stdin="wrong")
    regctl.run(*login, stdin=token_password)
    if token_server.ca_file:
        assert UNTRUSTED in make_client("regctl").fail(*copy)
    regctl.run(*copy)
    assert regctl.run("manifest", "head", ref) == digest
    regctl.run("image", "copy", ref, f"ocidir://{tmp_path}/out:v1")
    assert regctl.run("manifest", "head", f"ocidir://{tmp_path}/out:v1") == digest
    regctl.run("registry", "logout", token_server.registry)
    assert "unauthorized" in regctl.fail("manifest", "head", ref)
