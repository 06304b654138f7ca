"""skopeo: copies between the registry and files, and what it reads of a registry."""

from __future__ import annotations

import hashlib
import json

import pytest

from tests.clients.conftest import UNTRUSTED
from tests.serving import api_of

TO_REGISTRY = ("copy", "--dest-tls-verify=false")
FROM_REGISTRY = ("copy", "--src-tls-verify=false")


@pytest.fixture
def push(skopeo, make_image, write_layout, tmp_path):
    """Pushes a new image, or an index of one for each architecture; gives the digest."""

    def push(ref, text, *architectures):
        folder = tmp_path / hashlib.sha256(ref.encode()).hexdigest()
        images = [make_image(text, architecture=name) for name in architectures or ("amd64",)]
        digest = write_layout(folder, "it", *images)
        skopeo.run(*TO_REGISTRY, "--all", "--preserve-digests", f"oci:{folder}:it", f"docker://{ref}")
        return digest

    return push


def tagged_digest(layout):
    """The digest of the only entry of an OCI layout's index."""
    [entry] = json.loads((layout / "index.json").read_text())["manifests"]
    return entry["digest"]


def blob(layout, digest):
    return (layout / "blobs" / "sha256" / digest.removeprefix("sha256:")).read_bytes()


def test_login_with_the_token_succeeds_and_is_remembered(skopeo, password, server):
    login = ("login", "--tls-verify=false", "--username", "AWS", "--password-stdin", server.registry)
    assert "Login Succeeded" in skopeo.run(*login, stdin=password)
    assert skopeo.run("login", "--get-login", server.registry) == "AWS"
    skopeo.run("logout", server.registry)


def test_oci_layout_comes_back_with_the_same_bytes(
    skopeo, make_image, write_layout, repository, images_in, tmp_path
):
    image = make_image("there and back")
    write_layout(tmp_path / "in", "v1", image)
    ref = f"docker://{repository.uri}:v1"
    skopeo.run(*TO_REGISTRY, "--preserve-digests", f"oci:{tmp_path}/in:v1", ref)
    described = images_in(repository.name)[image.digest]
    assert described["imageTags"] == ["v1"]
    assert described["imageSizeInBytes"] == image.size
    assert described["imageManifestMediaType"] == image.media_type
    skopeo.run(*FROM_REGISTRY, ref, f"oci:{tmp_path}/out:v1")
    assert tagged_digest(tmp_path / "out") == image.digest
    manifest = json.loads(image.manifest)
    assert blob(tmp_path / "out", image.digest) == image.manifest
    assert blob(tmp_path / "out", manifest["config"]["digest"]) == image.config
    assert blob(tmp_path / "out", manifest["layers"][0]["digest"]) == image.layers[0]


@pytest.mark.parametrize("transport", ["dir", "docker-archive"])
def test_image_of_another_transport_becomes_an_oci_layout(
    skopeo, make_image, write_layout, repository, manifest_of, tmp_path, transport
):
    image = make_image("by another way")
    write_layout(tmp_path / "in", "v1", image)
    source = f"{transport}:{tmp_path}/source"
    skopeo.run("copy", f"oci:{tmp_path}/in:v1", source)
    skopeo.run(*TO_REGISTRY, source, f"docker://{repository.uri}:v1")
    _, stored = manifest_of(repository.name, "v1")
    skopeo.run(*FROM_REGISTRY, f"docker://{repository.uri}:v1", f"oci:{tmp_path}/out:v1")
    written = json.loads(blob(tmp_path / "out", tagged_digest(tmp_path / "out")))
    assert [layer["digest"] for layer in written["layers"]] == [layer["digest"] for layer in stored["layers"]]
    config = json.loads(blob(tmp_path / "out", written["config"]["digest"]))
    assert config["rootfs"]["diff_ids"] == json.loads(image.config)["rootfs"]["diff_ids"]


def test_inspect_tells_digest_tags_and_configuration(skopeo, push, repository):
    digest = push(f"{repository.uri}:v1", "inspected")
    push(f"{repository.uri}:v2", "another")
    inspect = ("inspect", "--tls-verify=false")
    ref = f"docker://{repository.uri}:v1"
    seen = skopeo.json(*inspect, ref)
    assert seen["Name"] == repository.uri
    assert seen["Digest"] == digest
    assert seen["RepoTags"] == ["v1", "v2"]
    assert seen["Architecture"] == "amd64"
    assert skopeo.json(*inspect, "--config", ref)["config"]["Cmd"] == ["/bin/cat", "/greeting"]
    assert skopeo.json(*inspect, "--raw", f"docker://{repository.uri}@{digest}")["schemaVersion"] == 2


def test_index_comes_back_with_all_its_images(skopeo, push, repository, manifest_of, images_in, tmp_path):
    digest = push(f"{repository.uri}:multi", "multi", "amd64", "arm64", "s390x")
    stored, index = manifest_of(repository.name, "multi")
    assert stored == digest
    children = [child["digest"] for child in index["manifests"]]
    assert set(images_in(repository.name)) == {digest, *children}
    skopeo.run(*FROM_REGISTRY, "--all", f"docker://{repository.uri}:multi", f"oci:{tmp_path}/all:multi")
    assert tagged_digest(tmp_path / "all") == digest
    for child in children:
        assert f"sha256:{hashlib.sha256(blob(tmp_path / 'all', child)).hexdigest()}" == child
    one = f"oci:{tmp_path}/one:multi"
    skopeo.run("--override-arch", "s390x", *FROM_REGISTRY, f"docker://{repository.uri}:multi", one)
    assert tagged_digest(tmp_path / "one") == children[2]


def test_copy_between_repositories_leaves_both_whole(skopeo, push, make_repository, images_in):
    source, target = make_repository(), make_repository()
    digest = push(f"{source.uri}:multi", "copied", "amd64", "arm64")
    refs = (f"docker://{source.uri}:multi", f"docker://{target.uri}:copy")
    skopeo.run(*FROM_REGISTRY, "--dest-tls-verify=false", "--all", *refs)
    assert images_in(target.name)[digest]["imageTags"] == ["copy"]
    assert images_in(source.name).keys() == images_in(target.name).keys()


def test_all_tags_are_listed_in_order(skopeo, push, repository):
    tags = ["1.0", "1.1", "a_b", "latest", "v-2"]
    for tag in reversed(tags):
        push(f"{repository.uri}:{tag}", tag)
    listed = skopeo.json("list-tags", "--tls-verify=false", f"docker://{repository.uri}")
    assert listed == {"Repository": repository.uri, "Tags": tags}


def test_sync_takes_a_repository_to_a_folder_and_to_another_one(
    skopeo, push, make_repository, images_in, server, tmp_path
):
    source = make_repository("synced/app")
    mirror = make_repository("mirror/app")
    digests = {tag: push(f"{source.uri}:{tag}", tag) for tag in ("v1", "v2")}
    sync = ("sync", "--src", "docker", "--src-tls-verify=false")
    skopeo.run(*sync, "--dest", "dir", source.uri, tmp_path)
    for tag, digest in digests.items():
        manifest = (tmp_path / f"app:{tag}" / "manifest.json").read_bytes()
        assert f"sha256:{hashlib.sha256(manifest).hexdigest()}" == digest
    skopeo.run(*sync, "--dest", "docker", "--dest-tls-verify=false", source.uri, f"{server.registry}/mirror")
    assert images_in(mirror.name).keys() == set(digests.values())


def test_delete_is_refused_and_the_image_stays(skopeo, push, repository, images_in):
    digest = push(f"{repository.uri}:v1", "kept")
    said = skopeo.fail("delete", "--tls-verify=false", f"docker://{repository.uri}:v1")
    assert "405" in said or "unsupported" in said.lower()
    assert images_in(repository.name)[digest]["imageTags"] == ["v1"]
    assert skopeo.json("inspect", "--tls-verify=false", f"docker://{repository.uri}:v1")["Digest"] == digest


def test_repository_may_be_named_like_a_part_of_the_api(skopeo, push, make_repository):
    for name in ("team/tags/list", "manifests/blobs", "a/blobs/uploads/b"):
        repository = make_repository(name)
        digest = push(f"{repository.uri}:v1", name)
        ref = f"docker://{repository.uri}"
        assert skopeo.json("inspect", "--tls-verify=false", f"{ref}:v1")["Digest"] == digest
        assert skopeo.json("list-tags", "--tls-verify=false", ref)["Tags"] == ["v1"]


def test_push_to_a_repository_that_does_not_exist_fails_with_ecrs_text(
    skopeo, make_image, write_layout, server, tmp_path
):
    write_layout(tmp_path / "in", "v1", make_image("lost"))
    said = skopeo.fail(*TO_REGISTRY, f"oci:{tmp_path}/in:v1", f"docker://{server.registry}/no/such:v1")
    assert "The repository with name 'no/such' does not exist in the registry with id" in said


def test_overwrite_of_an_immutable_tag_is_refused_with_ecrs_text(
    skopeo, make_image, write_layout, make_repository, push, images_in, tmp_path
):
    repository = make_repository(imageTagMutability="IMMUTABLE")
    digest = push(f"{repository.uri}:v1", "first")
    write_layout(tmp_path / "second", "v1", make_image("second"))
    said = skopeo.fail(*TO_REGISTRY, f"oci:{tmp_path}/second:v1", f"docker://{repository.uri}:v1")
    assert "cannot be overwritten because the tag is immutable" in said
    assert images_in(repository.name)[digest]["imageTags"] == ["v1"]


def test_server_that_asks_for_a_token_takes_it_and_nothing_less(
    skopeo, make_image, write_layout, token_server, token_password, reached, tmp_path
):
    digest = write_layout(tmp_path / "in", "v1", make_image("for those who log in"))
    source, ref = f"oci:{tmp_path}/in:v1", f"docker://{token_server.registry}/app:skopeo"
    push = ("copy", f"--dest-{reached}")
    assert "authentication required" in skopeo.fail(*push, source, ref)
    skopeo.fail(*push, "--dest-creds", "AWS:wrong", source, ref)
    skopeo.run(*push, "--dest-creds", f"AWS:{token_password}", source, ref)
    [image] = api_of(token_server).describe_images(repositoryName="app", imageIds=[{"imageTag": "skopeo"}])[
        "imageDetails"
    ]
    assert image["imageDigest"] == digest
    login = ("login", f"--{reached}", "--username", "AWS", "--password-stdin", token_server.registry)
    skopeo.run(*login, stdin=token_password)
    if token_server.ca_file:
        assert UNTRUSTED in skopeo.fail("copy", source, ref)
    skopeo.run("copy", f"--src-{reached}", ref, f"oci:{tmp_path}/out:v1")
    assert tagged_digest(tmp_path / "out") == digest
    skopeo.run("logout", token_server.registry)
