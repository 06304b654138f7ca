"""podman: build, push, pull and run."""

from __future__ import annotations

import json

import pytest

from tests.clients.conftest import UNTRUSTED

INSECURE = "--tls-verify=false"


@pytest.fixture
def build(podman, build_folder):
    """Builds an image that prints a text when it is run."""

    def build(ref, text, *steps):
        podman.run("build", "--quiet", "--tag", ref, build_folder("localhost/base", text, *steps))
        return ref

    return build


def run(podman, ref):
    return podman.run("run", "--rm", "--network", "none", ref)


def test_login_with_the_token_succeeds_and_is_remembered(podman, password, server):
    said = podman.run(
        "login", INSECURE, "--username", "AWS", "--password-stdin", server.registry, stdin=password
    )
    assert "Login Succeeded" in said
    assert podman.run("login", "--get-login", server.registry) == "AWS"
    podman.run("logout", server.registry)


def test_what_was_built_and_pushed_is_described_pulled_and_run(
    podman, build, repository, manifest_of, images_in
):
    ref = build(f"{repository.uri}:v1", "hello from podman", "RUN echo 1 > /one")
    podman.run("push", INSECURE, ref)
    digest, manifest = manifest_of(repository.name, "v1")
    image = images_in(repository.name)[digest]
    assert image["imageTags"] == ["v1"]
    assert image["imageSizeInBytes"] == sum(
        part["size"] for part in [manifest["config"], *manifest["layers"]]
    )
    podman.run("rmi", "--force", ref)
    podman.run("pull", INSECURE, ref)
    assert podman.run("image", "inspect", "--format", "{{.Digest}}", ref) == digest
    assert run(podman, ref) == "hello from podman"
    podman.run("rmi", ref)
    podman.run("pull", INSECURE, f"{repository.uri}@{digest}")
    assert run(podman, f"{repository.uri}@{digest}") == "hello from podman"


@pytest.mark.parametrize("image_format", ["oci", "v2s2"])
def test_either_manifest_format_is_stored_as_it_was_pushed(
    podman, build, repository, manifest_of, image_format
):
    ref = build(f"{repository.uri}:v1", "formatted")
    podman.run("push", INSECURE, "--format", image_format, "--digestfile", "digest", ref)
    digest, manifest = manifest_of(repository.name, "v1")
    assert podman.read("digest") == digest
    assert ("oci" in manifest["config"]["mediaType"]) == (image_format == "oci")


def test_layers_compressed_with_zstd_are_pushed_pulled_and_run(podman, build, repository, manifest_of):
    ref = build(f"{repository.uri}:v1", "zstd")
    podman.run("push", INSECURE, "--format", "oci", "--compression-format", "zstd", ref)
    _, manifest = manifest_of(repository.name, "v1")
    assert all(layer["mediaType"].endswith("tar+zstd") for layer in manifest["layers"])
    podman.run("rmi", "--force", ref)
    podman.run("pull", INSECURE, ref)
    assert run(podman, ref) == "zstd"


def test_base_image_is_pulled_from_the_registry_by_a_build(podman, build, build_folder, repository):
    base = build(f"{repository.uri}:base", "base")
    podman.run("push", INSECURE, base)
    podman.run("rmi", "--force", base)
    folder = build_folder(base, "derived")
    podman.run("build", INSECURE, "--quiet", "--tag", f"{repository.uri}:derived", folder)
    podman.run("push", INSECURE, f"{repository.uri}:derived")
    assert run(podman, f"{repository.uri}:derived") == "derived"


def test_tags_are_listed_by_search(podman, build, repository):
    for tag in ("a", "b"):
        podman.run("push", INSECURE, build(f"{repository.uri}:{tag}", tag))
    listed = json.loads(podman.run("search", INSECURE, "--list-tags", "--format", "json", repository.uri))
    assert listed[0]["Tags"] == ["a", "b"]


def test_push_to_a_repository_that_does_not_exist_fails_with_ecrs_text(podman, build, server):
    ref = build(f"{server.registry}/no/such:v1", "lost")
    said = podman.fail("push", INSECURE, ref)
    assert "The repository with name 'no/such' does not exist in the registry with id" in said


def test_overwrite_of_an_immutable_tag_is_refused_with_ecrs_text(podman, build, make_repository):
    repository = make_repository(imageTagMutability="IMMUTABLE")
    ref = build(f"{repository.uri}:v1", "first")
    podman.run("push", INSECURE, ref)
    build(ref, "second")
    assert "cannot be overwritten because the tag is immutable" in podman.fail("push", INSECURE, ref)
    podman.run("pull", INSECURE, ref)
    assert run(podman, ref) == "first"


def test_server_that_asks_for_a_token_takes_it_and_nothing_less(
    podman, build, token_server, token_password, reached
):
    ref = build(f"{token_server.registry}/app:podman", "for those who log in")
    push = ("push", f"--{reached}", ref)
    assert "authentication required" in podman.fail(*push)
    login = ("login", f"--{reached}", "--username", "AWS", "--password-stdin", token_server.registry)
    podman.fail(*login, stdin="wrong")
    podman.run(*login, stdin=token_password)
    if token_server.ca_file:
        assert UNTRUSTED in podman.fail("push", ref)
    podman.run(*push)
    podman.run("rmi", "--force", ref)
    podman.run("pull", f"--{reached}", ref)
    assert run(podman, ref) == "for those who log in"
    podman.run("logout", token_server.registry)
