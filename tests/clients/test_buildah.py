"""buildah: images and indexes that are put together step by step."""

from __future__ import annotations

import pytest

from tests.clients.conftest import UNTRUSTED

INSECURE = "--tls-verify=false"
INDEX_TYPES = {
    "oci": "application/vnd.oci.image.index.v1+json",
    "v2s2": "application/vnd.docker.distribution.manifest.list.v2+json",
}


@pytest.fixture
def assemble(buildah, base_tar, tmp_path):
    """Commits an image of the base and a greeting, made by from, add, copy and config."""

    def assemble(ref, text, *flags):
        (tmp_path / "greeting").write_text(text)
        container = buildah.run("from", "scratch")
        buildah.run("add", container, base_tar, "/")
        buildah.run("copy", container, tmp_path / "greeting", "/greeting")
        buildah.run("config", "--cmd", '["/bin/cat", "/greeting"]', *flags, container)
        buildah.run("commit", "--quiet", "--rm", container, ref)
        return ref

    return assemble


def greeting(buildah, ref):
    """What is in the file of an image, read by a container of it."""
    container = buildah.run("from", "--pull-never", ref)
    said = buildah.run("run", container, "/bin/cat", "/greeting")
    buildah.run("rm", container)
    return said


def test_login_with_the_token_succeeds_and_is_remembered(buildah, password, server):
    said = buildah.run(
        "login", INSECURE, "--username", "AWS", "--password-stdin", server.registry, stdin=password
    )
    assert "Login Succeeded" in said
    assert buildah.run("login", "--get-login", server.registry) == "AWS"
    buildah.run("logout", server.registry)


def test_committed_image_is_pushed_described_pulled_and_run(
    buildah, assemble, repository, manifest_of, images_in
):
    ref = assemble(f"{repository.uri}:v1", "hello from buildah")
    buildah.run("push", INSECURE, "--digestfile", "pushed", ref)
    digest, manifest = manifest_of(repository.name, "v1")
    assert buildah.read("pushed") == digest
    image = images_in(repository.name)[digest]
    assert image["imageSizeInBytes"] == sum(
        part["size"] for part in [manifest["config"], *manifest["layers"]]
    )
    buildah.run("rmi", "--force", ref)
    buildah.run("pull", "--quiet", INSECURE, ref)
    assert greeting(buildah, ref) == "hello from buildah"


def test_image_is_built_on_one_that_from_pulls(buildah, assemble, repository, tmp_path, manifest_of):
    base = assemble(f"{repository.uri}:base", "base")
    buildah.run("push", INSECURE, base)
    buildah.run("rmi", "--force", base)
    container = buildah.run("from", INSECURE, "--pull-always", base).splitlines()[-1]
    (tmp_path / "greeting").write_text("derived")
    buildah.run("copy", container, tmp_path / "greeting", "/greeting")
    derived = f"{repository.uri}:derived"
    buildah.run("commit", "--quiet", "--rm", container, derived)
    buildah.run("push", INSECURE, derived)
    layers = {tag: manifest_of(repository.name, tag)[1]["layers"] for tag in ("base", "derived")}
    assert layers["derived"][:-1] == layers["base"]
    buildah.run("rmi", "--force", derived)
    buildah.run("pull", "--quiet", INSECURE, derived)
    assert greeting(buildah, derived) == "derived"


def test_commit_straight_to_the_registry_stores_an_image(buildah, base_tar, repository, images_in):
    container = buildah.run("from", "scratch")
    buildah.run("add", container, base_tar, "/")
    buildah.run("commit", INSECURE, "--quiet", "--rm", container, f"docker://{repository.uri}:v1")
    [image] = images_in(repository.name).values()
    assert image["imageTags"] == ["v1"]


@pytest.mark.parametrize("index_format", list(INDEX_TYPES))
def test_index_of_two_architectures_is_pushed_with_its_images(
    buildah, assemble, repository, manifest_of, images_in, index_format
):
    index = f"{repository.uri}:multi"
    local = f"localhost/index-{index_format}"
    buildah.run("manifest", "create", local)
    for architecture in ("amd64", "arm64"):
        child = assemble(f"localhost/{architecture}", f"for {architecture}", "--arch", architecture)
        buildah.run("manifest", "add", local, child)
    push = ("manifest", "push", INSECURE, "--all", "--format", index_format, "--digestfile", "pushed")
    buildah.run(*push, local, f"docker://{index}")

    digest, manifest = manifest_of(repository.name, "multi")
    assert buildah.read("pushed") == digest
    assert manifest["mediaType"] == INDEX_TYPES[index_format]
    assert {child["platform"]["architecture"] for child in manifest["manifests"]} == {"amd64", "arm64"}
    images = images_in(repository.name)
    assert set(images) == {digest, *(child["digest"] for child in manifest["manifests"])}
    assert images[digest]["imageManifestMediaType"] == INDEX_TYPES[index_format]
    assert [image["imageTags"] for image in images.values() if "imageTags" in image] == [["multi"]]

    for architecture in ("arm64", "amd64"):
        buildah.run("pull", "--quiet", INSECURE, "--arch", architecture, index)
        assert greeting(buildah, index) == f"for {architecture}"


def test_index_refers_to_images_that_are_in_the_registry(buildah, assemble, repository, manifest_of):
    child = assemble(f"{repository.uri}:child", "child")
    buildah.run("push", INSECURE, child)
    digest, _ = manifest_of(repository.name, "child")
    buildah.run("manifest", "create", "localhost/remote")
    buildah.run("manifest", "add", INSECURE, "localhost/remote", f"docker://{child}")
    buildah.run("manifest", "push", INSECURE, "localhost/remote", f"docker://{repository.uri}:multi")
    _, index = manifest_of(repository.name, "multi")
    assert [entry["digest"] for entry in index["manifests"]] == [digest]
    buildah.run("pull", "--quiet", INSECURE, f"{repository.uri}:multi")
    assert greeting(buildah, f"{repository.uri}:multi") == "child"


def test_push_to_a_repository_that_does_not_exist_fails_with_ecrs_text(buildah, assemble, server):
    ref = assemble(f"{server.registry}/no/such:v1", "lost")
    said = buildah.fail("push", INSECURE, ref)
    assert "The repository with name 'no/such' does not exist in the registry with id" in said


def test_server_that_asks_for_a_token_takes_it_and_nothing_less(
    buildah, assemble, token_server, token_password, reached
):
    ref = assemble(f"{token_server.registry}/app:buildah", "for those who log in")
    push = ("push", f"--{reached}")
    assert "authentication required" in buildah.fail(*push, ref)
    buildah.fail(*push, "--creds", "AWS:wrong", ref)
    buildah.run(*push, "--creds", f"AWS:{token_password}", ref)
    buildah.run("rmi", "--force", ref)
    login = ("login", f"--{reached}", "--username", "AWS", "--password-stdin", token_server.registry)
    buildah.run(*login, stdin=token_password)
    if token_server.ca_file:
        assert UNTRUSTED in buildah.fail("pull", ref)
    buildah.run("pull", "--quiet", f"--{reached}", ref)
    assert greeting(buildah, ref) == "for those who log in"
    buildah.run("logout", token_server.registry)
