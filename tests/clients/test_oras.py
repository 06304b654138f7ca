"""oras: artifacts, and the artifacts that refer to others, on both planes."""

from __future__ import annotations

import json

import pytest

from tests.clients.conftest import UNTRUSTED

SBOM, SCAN = "application/spdx+json", "application/vnd.example.scan"


@pytest.fixture(scope="session")
def oras(make_client):
    return make_client("oras")


@pytest.fixture
def files(tmp_path):
    """Writes files to push, and gives their names as oras takes them, with a media type."""

    def write(**contents):
        for name, content in contents.items():
            (tmp_path / name).write_text(content)
        return [f"{tmp_path / name}:text/plain" for name in contents]

    return write


@pytest.fixture
def push(oras, files):
    """Pushes an artifact of one file; gives its digest."""

    def push(ref, content, artifact_type="application/vnd.example"):
        [file] = files(artifact=content)
        return oras.json(
            *("push", "--plain-http", "--disable-path-validation", "--format", "json"),
            *("--artifact-type", artifact_type, ref, file),
        )["digest"]

    return push


@pytest.fixture
def attach(oras, files):
    """Attaches a file to an image; gives the digest of the artifact."""

    def attach(ref, artifact_type, content="attached"):
        [file] = files(attached=content)
        return oras.json(
            *("attach", "--plain-http", "--disable-path-validation", "--format", "json"),
            *("--artifact-type", artifact_type, "--annotation", "who=oras", ref, file),
        )["digest"]

    return attach


@pytest.fixture
def discover(oras):
    """What oras finds to refer to an image: artifact types by digest."""

    def discover(ref, *flags):
        found = oras.json("discover", "--plain-http", "--format", "json", *flags, ref)
        return {entry["digest"]: entry["artifactType"] for entry in found["referrers"]}

    return discover


def test_artifact_is_described_with_its_type_and_comes_back(oras, push, repository, images_in, tmp_path):
    digest = push(f"{repository.uri}:v1", "content", "application/vnd.example.model")
    described = images_in(repository.name)[digest]
    assert described["imageTags"] == ["v1"]
    assert described["artifactMediaType"] == "application/vnd.example.model"
    assert described["imageManifestMediaType"] == "application/vnd.oci.image.manifest.v1+json"
    # The file and the empty config, "{}".
    assert described["imageSizeInBytes"] == len("content") + 2
    (tmp_path / "artifact").unlink()
    oras.run("pull", "--plain-http", "--allow-path-traversal", f"{repository.uri}:v1")
    assert (tmp_path / "artifact").read_text() == "content"


def test_several_tags_are_pushed_at_once_and_moved(oras, push, repository, tags_in):
    first = push(f"{repository.uri}:1.0,1,latest", "first")
    second = push(f"{repository.uri}:2.0", "second")
    oras.run("tag", "--plain-http", f"{repository.uri}:2.0", "latest")
    assert tags_in(repository.name) == {first: ["1", "1.0"], second: ["2.0", "latest"]}
    assert oras.run("resolve", "--plain-http", f"{repository.uri}:latest") == second
    assert oras.run("repo", "tags", "--plain-http", repository.uri).split() == ["1", "1.0", "2.0", "latest"]


def test_attached_artifacts_are_referrers_on_both_planes(
    push, attach, discover, repository, images_in, referrers_of
):
    subject = push(f"{repository.uri}:v1", "subject")
    sbom = attach(f"{repository.uri}:v1", SBOM)
    scan = attach(f"{repository.uri}@{subject}", SCAN)
    both = {sbom: SBOM, scan: SCAN}
    assert discover(f"{repository.uri}:v1") == referrers_of(repository.name, subject) == both
    assert discover(f"{repository.uri}:v1", "--artifact-type", SCAN) == {scan: SCAN}
    assert referrers_of(repository.name, subject, SBOM) == {sbom: SBOM}
    described = images_in(repository.name)
    for digest, artifact_type in both.items():
        assert described[digest]["subjectManifestDigest"] == subject
        assert described[digest]["artifactMediaType"] == artifact_type
        assert "imageTags" not in described[digest]
    assert "subjectManifestDigest" not in described[subject]


def test_artifact_that_the_api_deletes_is_no_referrer_any_more(push, attach, discover, repository, ecr):
    push(f"{repository.uri}:v1", "subject")
    sbom, scan = (attach(f"{repository.uri}:v1", kind) for kind in (SBOM, SCAN))
    ecr.batch_delete_image(repositoryName=repository.name, imageIds=[{"imageDigest": sbom}])
    assert discover(f"{repository.uri}:v1") == {scan: SCAN}


def test_artifact_put_by_the_api_is_discovered(oras, push, discover, files, repository, ecr):
    subject = push(f"{repository.uri}:v1", "subject")
    [file] = files(blob="a blob")
    layer = oras.json("blob", "push", "--plain-http", "--descriptor", repository.uri, file.partition(":")[0])
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": SBOM,
        "config": layer,
        "layers": [layer],
        "subject": json.loads(
            oras.run("manifest", "fetch", "--plain-http", "--descriptor", f"{repository.uri}:v1")
        ),
    }
    put = ecr.put_image(repositoryName=repository.name, imageManifest=json.dumps(manifest))["image"]
    assert discover(f"{repository.uri}@{subject}") == {put["imageId"]["imageDigest"]: SBOM}


def test_copy_takes_referrers_along_to_repositories_and_files(
    oras, push, attach, discover, make_repository, referrers_of, tmp_path
):
    source, target, restored = make_repository(), make_repository("copies/tags/list"), make_repository()
    subject = push(f"{source.uri}:v1", "subject")
    sbom = attach(f"{source.uri}:v1", SBOM)
    signature = attach(f"{source.uri}@{sbom}", SCAN, "of the SBOM")
    copy = ("cp", "--recursive", "--from-plain-http", "--to-plain-http")
    oras.run(*copy, f"{source.uri}:v1", f"{target.uri}:v1")
    assert discover(f"{target.uri}:v1") == referrers_of(target.name, subject) == {sbom: SBOM}
    assert discover(f"{target.uri}@{sbom}") == {signature: SCAN}
    layout = f"{tmp_path}/layout:v1"
    oras.run("cp", "--recursive", "--from-plain-http", "--to-oci-layout", f"{target.uri}:v1", layout)
    oras.run("cp", "--recursive", "--from-oci-layout", "--to-plain-http", layout, f"{restored.uri}:v1")
    assert referrers_of(restored.name, subject) == {sbom: SBOM}
    assert referrers_of(restored.name, sbom) == {signature: SCAN}


def test_index_of_artifacts_keeps_its_type(oras, push, repository, images_in):
    children = [push(f"{repository.uri}:{name}", name) for name in ("one", "two")]
    oras.run(
        *("manifest", "index", "create", "--plain-http", "--artifact-type", "application/vnd.example.set"),
        *(f"{repository.uri}:both", "one", "two"),
    )
    index = oras.json("manifest", "fetch", "--plain-http", f"{repository.uri}:both")
    assert [child["digest"] for child in index["manifests"]] == children
    digest = oras.run("resolve", "--plain-http", f"{repository.uri}:both")
    assert images_in(repository.name)[digest]["artifactMediaType"] == "application/vnd.example.set"


def test_deletes_are_refused_as_ecr_refuses_them_and_nothing_is_gone(
    oras, push, attach, discover, repository, tags_in
):
    digest = push(f"{repository.uri}:v1", "kept")
    sbom = attach(f"{repository.uri}:v1", SBOM)
    before = tags_in(repository.name)
    manifest = oras.json("manifest", "fetch", "--plain-http", f"{repository.uri}:v1")
    layer = manifest["layers"][0]["digest"]
    for reference in (f"{repository.uri}:v1", f"{repository.uri}@{digest}", f"{repository.uri}@{sbom}"):
        assert "unsupported" in oras.fail("manifest", "delete", "--plain-http", "--force", reference)
    blob = f"{repository.uri}@{layer}"
    assert "unsupported" in oras.fail("blob", "delete", "--plain-http", "--force", blob)
    assert tags_in(repository.name) == before
    assert discover(f"{repository.uri}:v1") == {sbom: SBOM}
    assert oras.run("blob", "fetch", "--plain-http", "--output", "-", blob) == "kept"


def test_list_of_repositories_is_refused_as_ecr_refuses_it(oras, server):
    assert "unsupported" in oras.fail("repo", "ls", "--plain-http", server.registry)


def test_immutable_tag_stays_but_artifacts_can_be_attached(
    oras, push, attach, files, make_repository, tags_in, referrers_of
):
    repository = make_repository(imageTagMutability="IMMUTABLE")
    digest = push(f"{repository.uri}:v1", "first")
    [file] = files(second="second")
    said = oras.fail("push", "--plain-http", "--disable-path-validation", f"{repository.uri}:v1", file)
    assert "cannot be overwritten because the tag is immutable" in said
    sbom = attach(f"{repository.uri}:v1", SBOM)
    assert {key: tags for key, tags in tags_in(repository.name).items() if tags} == {digest: ["v1"]}
    assert referrers_of(repository.name, digest) == {sbom: SBOM}


def test_push_to_a_repository_that_does_not_exist_fails_with_ecrs_text(oras, files, server):
    [file] = files(lost="lost")
    push = ("push", "--plain-http", "--disable-path-validation")
    said = oras.fail(*push, f"{server.registry}/no/such:v1", file)
    assert "The repository with name 'no/such' does not exist in the registry with id" in said


def test_server_that_asks_for_a_token_takes_it_and_nothing_less(
    make_client, files, token_server, token_password, tmp_path
):
    oras = make_client("oras")
    reach = ("--ca-file", token_server.ca_file) if token_server.ca_file else ("--plain-http",)
    [file] = files(secret="for those who log in")
    ref = f"{token_server.registry}/app:oras"
    push = ("push", *reach, "--disable-path-validation", ref, file)
    login = ("login", *reach, "--username", "AWS", "--password-stdin", token_server.registry)
    assert "basic credential not found" in oras.fail(*push)
    assert "unauthorized" in oras.fail(*login, stdin="wrong")
    assert "Login Succeeded" in oras.run(*login, stdin=token_password)
    if token_server.ca_file:
        assert UNTRUSTED in oras.fail("resolve", ref)
    oras.run(*push)
    (tmp_path / "secret").unlink()
    oras.run("pull", *reach, "--allow-path-traversal", ref)
    assert (tmp_path / "secret").read_text() == "for those who log in"
    attach = ("attach", *reach, "--disable-path-validation", "--artifact-type", SBOM, ref, file)
    oras.run(*attach)
    found = oras.json("discover", *reach, "--format", "json", ref)
    assert [entry["artifactType"] for entry in found["referrers"]] == [SBOM]
    oras.run("logout", token_server.registry)
    assert "basic credential not found" in oras.fail("discover", *reach, ref)
