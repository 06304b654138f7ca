"""crane, and with it go-containerregistry, which many tools push and pull with."""

from __future__ import annotations

import json
import tarfile

import pytest

from tests.clients.conftest import UNTRUSTED

IMMUTABLE = "cannot be overwritten because the tag is immutable"


@pytest.fixture(scope="session")
def crane(make_client):
    return make_client("crane")


@pytest.fixture
def push(crane, new_layout):
    """Pushes a new image, or an index of one for each architecture; gives the digest."""

    def push(ref, *architectures):
        folder, digest = new_layout(ref, *architectures)
        crane.run("push", folder, ref)
        return digest

    return push


def pushed_digest(printed):
    """The digest in the reference that crane prints of what it pushed."""
    return printed.splitlines()[-1].partition("@")[2]


def test_what_is_pushed_is_described_and_comes_back(crane, new_layout, repository, images_in, tmp_path):
    folder, digest = new_layout("by crane")
    ref = f"{repository.uri}:v1"
    assert pushed_digest(crane.run("push", folder, ref)) == digest
    described = images_in(repository.name)[digest]
    manifest = crane.json("manifest", ref)
    assert described["imageTags"] == ["v1"]
    assert described["imageSizeInBytes"] == sum(
        part["size"] for part in [manifest["config"], *manifest["layers"]]
    )
    assert crane.run("digest", ref) == digest
    assert crane.json("config", ref)["config"]["Cmd"] == ["/bin/cat", "/greeting"]
    crane.run("pull", "--format", "oci", ref, tmp_path / "out")
    for blob in (folder / "blobs" / "sha256").iterdir():
        assert (tmp_path / "out" / "blobs" / "sha256" / blob.name).read_bytes() == blob.read_bytes()


def test_copied_index_is_whole_in_both_repositories(crane, push, make_repository, manifest_of, tags_in):
    source, target = make_repository(), make_repository()
    digest = push(f"{source.uri}:multi", "amd64", "arm64")
    crane.run("copy", f"{source.uri}:multi", f"{target.uri}:copy")
    stored, index = manifest_of(target.name, "copy")
    assert stored == digest
    children = [child["digest"] for child in index["manifests"]]
    assert tags_in(target.name) == {digest: ["copy"], children[0]: [], children[1]: []}
    assert tags_in(source.name).keys() == tags_in(target.name).keys()
    assert crane.run("digest", "--platform", "linux/arm64", f"{target.uri}:copy") == children[1]
    crane.run("validate", "--remote", f"{target.uri}@{children[0]}")


def test_layers_are_mounted_where_the_account_says_so(crane, push, make_repository, ecr):
    source, target = make_repository(), make_repository()
    push(f"{source.uri}:v1")
    copy = ("copy", f"{source.uri}:v1", f"{target.uri}:v1")
    ecr.put_account_setting(name="BLOB_MOUNTING", value="ENABLED")
    try:
        _, _, said = crane.call(copy, None, {})
    finally:
        ecr.put_account_setting(name="BLOB_MOUNTING", value="DISABLED")
    assert said.count("mounted blob") == 2
    crane.run("validate", "--remote", f"{target.uri}:v1")


def test_appended_layer_and_changed_configuration_are_images_beside_the_first(
    crane, push, repository, images_in, manifest_of, tmp_path
):
    base = push(f"{repository.uri}:base")
    with tarfile.open(tmp_path / "more.tar", "w") as tar:
        (tmp_path / "file").write_text("appended")
        tar.add(tmp_path / "file", "appended")
    appended = pushed_digest(
        crane.run(
            "append",
            "-b",
            f"{repository.uri}:base",
            "-f",
            tmp_path / "more.tar",
            "-t",
            f"{repository.uri}:more",
        )
    )
    changed = pushed_digest(
        crane.run(
            "mutate", f"{repository.uri}:base", "--label", "team=shop", "-t", f"{repository.uri}:labelled"
        )
    )
    images = images_in(repository.name)
    assert {digest: image["imageTags"] for digest, image in images.items()} == {
        base: ["base"],
        appended: ["more"],
        changed: ["labelled"],
    }
    layers = {tag: manifest_of(repository.name, tag)[1]["layers"] for tag in ("base", "more", "labelled")}
    assert [layer["digest"] for layer in layers["more"]][:1] == [layer["digest"] for layer in layers["base"]]
    assert len(layers["more"]) == 2
    assert layers["labelled"] == layers["base"]
    assert images[appended]["imageSizeInBytes"] > images[base]["imageSizeInBytes"]
    crane.run("export", f"{repository.uri}:more", tmp_path / "all.tar")
    with tarfile.open(tmp_path / "all.tar") as tar:
        assert tar.extractfile("appended").read() == b"appended"
    assert crane.json("config", f"{repository.uri}:labelled")["config"]["Labels"] == {"team": "shop"}


def test_image_put_by_the_api_is_found_by_its_new_tag(crane, push, repository, ecr, manifest_of):
    digest = push(f"{repository.uri}:v1")
    [image] = ecr.batch_get_image(repositoryName=repository.name, imageIds=[{"imageTag": "v1"}])["images"]
    ecr.put_image(repositoryName=repository.name, imageManifest=image["imageManifest"], imageTag="by-the-api")
    assert crane.run("ls", repository.uri).splitlines() == ["by-the-api", "v1"]
    assert crane.run("digest", f"{repository.uri}:by-the-api") == digest
    crane.run("tag", f"{repository.uri}:v1", "by-crane")
    assert manifest_of(repository.name, "by-crane")[0] == digest


def test_image_deleted_by_the_api_is_unknown(crane, push, repository, ecr):
    push(f"{repository.uri}:v1")
    ecr.batch_delete_image(repositoryName=repository.name, imageIds=[{"imageTag": "v1"}])
    assert "MANIFEST_UNKNOWN" in crane.fail("manifest", f"{repository.uri}:v1")
    assert crane.run("ls", repository.uri) == ""


def test_delete_is_refused_as_ecr_refuses_it_and_nothing_is_gone(crane, push, repository, tags_in):
    digest = push(f"{repository.uri}:v1", "amd64", "arm64")
    before = tags_in(repository.name)
    for reference in (f"{repository.uri}:v1", f"{repository.uri}@{digest}"):
        assert "UNSUPPORTED" in crane.fail("delete", reference)
    assert tags_in(repository.name) == before
    crane.run("validate", "--remote", f"{repository.uri}:v1")


def test_all_tags_are_copied_to_a_repository_named_like_a_part_of_the_api(
    crane, push, make_repository, tags_in
):
    source = make_repository()
    for tag in ("v1", "v2"):
        push(f"{source.uri}:{tag}")
    for name in ("team/tags/list", "manifests/blobs", "a/blobs/uploads/b", "a/referrers/b"):
        target = make_repository(name)
        crane.run("copy", "--all-tags", source.uri, target.uri)
        assert tags_in(name) == tags_in(source.name)
        assert crane.run("ls", target.uri).splitlines() == ["v1", "v2"]


def test_push_to_a_repository_that_does_not_exist_fails_with_ecrs_text(crane, new_layout, server):
    folder, _ = new_layout("lost")
    said = crane.fail("push", folder, f"{server.registry}/no/such:v1")
    assert "NAME_UNKNOWN: The repository with name 'no/such' does not exist in the registry with id" in said


def test_immutable_tag_stays_where_it_is(crane, push, new_layout, make_repository, tags_in):
    repository = make_repository(imageTagMutability="IMMUTABLE")
    first = push(f"{repository.uri}:v1")
    other = push(f"{repository.uri}:other")
    assert IMMUTABLE in crane.fail("tag", f"{repository.uri}:other", "v1")
    folder, _ = new_layout("second")
    assert IMMUTABLE in crane.fail("push", folder, f"{repository.uri}:v1")
    assert tags_in(repository.name) == {first: ["v1"], other: ["other"]}


def test_server_that_asks_for_a_token_takes_it_and_nothing_less(
    make_client, new_layout, token_server, token_password, go_trust, tmp_path
):
    crane = make_client("crane", **go_trust)
    folder, digest = new_layout("for those who log in")
    ref = f"{token_server.registry}/app:crane"
    login = ("auth", "login", token_server.registry, "--username", "AWS", "--password-stdin")
    assert "401 Unauthorized" in crane.fail("push", folder, ref)
    crane.run(*login, stdin="wrong")
    assert "401 Unauthorized" in crane.fail("push", folder, ref)
    crane.run(*login, stdin=token_password)
    if go_trust:
        assert UNTRUSTED in crane.fail("push", folder, ref, SSL_CERT_FILE="")
    crane.run("push", folder, ref)
    assert crane.run("digest", ref) == digest
    crane.run("pull", "--format", "oci", ref, tmp_path / "out")
    assert (tmp_path / "out" / "blobs" / "sha256" / digest.removeprefix("sha256:")).exists()
    crane.run("auth", "logout", token_server.registry)
    assert "401" in crane.fail("digest", ref)


def test_manifest_is_served_byte_for_byte(crane, new_layout, repository):
    folder, digest = new_layout("bytes", "amd64", "s390x")
    crane.run("push", folder, f"{repository.uri}:v1")
    stored = (folder / "blobs" / "sha256" / digest.removeprefix("sha256:")).read_text()
    assert crane.run("manifest", f"{repository.uri}@{digest}") == stored.strip()
    assert len(json.loads(stored)["manifests"]) == 2
