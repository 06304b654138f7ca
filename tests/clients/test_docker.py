"""docker, both its classic builder and BuildKit, and what the ECR API says of what it pushed."""

from __future__ import annotations

import hashlib
import json

import pytest

from tests.clients.conftest import UNTRUSTED, trusted_by_docker

MANIFEST_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"


@pytest.fixture
def build(docker, build_folder):
    """Builds an image that prints a text when it is run."""

    def build(ref, text, *steps, buildkit=False):
        folder = build_folder("base", text, *steps)
        docker.run("build", "--quiet", "--tag", ref, folder, DOCKER_BUILDKIT=str(int(buildkit)))
        return ref

    return build


def repo_digest(docker, ref):
    """The digest under which the engine knows a pushed image."""
    [digest] = docker.json("image", "inspect", "--format", "{{json .RepoDigests}}", ref)
    return digest.partition("@")[2]


def test_login_with_the_token_of_the_aws_cli_succeeds(aws, docker, server):
    token = aws.run("get-login-password")
    said = docker.run("login", "--username", "AWS", "--password-stdin", server.registry, stdin=token)
    assert "Login Succeeded" in said


@pytest.mark.parametrize("buildkit", [False, True], ids=["classic", "buildkit"])
def test_what_was_built_and_pushed_is_described_pulled_and_run(
    aws, docker, build, manifest_of, buildkit, server
):
    name = f"journey/{'buildkit' if buildkit else 'classic'}"
    created = aws.json("create-repository", "--repository-name", name)["repository"]
    assert created["repositoryUri"] == f"{server.registry}/{name}"
    ref = build(f"{created['repositoryUri']}:v1", "hello from docker", "RUN echo 1 > /one", buildkit=buildkit)
    docker.run("push", ref)

    [image] = aws.json("describe-images", "--repository-name", name)["imageDetails"]
    digest, manifest = manifest_of(name, "v1")
    assert image["imageDigest"] == digest == repo_digest(docker, ref)
    assert image["imageTags"] == ["v1"]
    assert len(manifest["layers"]) == 3
    sizes = [part["size"] for part in [manifest["config"], *manifest["layers"]]]
    assert image["imageSizeInBytes"] == sum(sizes)
    assert image["imageManifestMediaType"] == manifest["mediaType"]

    docker.run("image", "rm", ref)
    docker.run("pull", ref)
    assert docker.run("run", "--rm", ref) == "hello from docker"
    docker.run("image", "rm", ref)
    docker.run("pull", f"{created['repositoryUri']}@{digest}")
    aws.run("delete-repository", "--repository-name", name, "--force")


def test_push_of_all_tags_tags_one_image_or_several(docker, build, repository, images_in):
    first = build(f"{repository.uri}:1.0", "one")
    docker.run("tag", first, f"{repository.uri}:1")
    second = build(f"{repository.uri}:2.0", "two")
    docker.run("push", "--all-tags", repository.uri)
    images = images_in(repository.name)
    assert {digest: sorted(image["imageTags"]) for digest, image in images.items()} == {
        repo_digest(docker, first): ["1", "1.0"],
        repo_digest(docker, second): ["2.0"],
    }
    docker.run("image", "rm", first, f"{repository.uri}:1", second)
    docker.run("pull", "--all-tags", repository.uri)
    assert docker.run("run", "--rm", f"{repository.uri}:1") == "one"
    assert docker.run("run", "--rm", f"{repository.uri}:2.0") == "two"


def test_second_push_of_the_same_image_changes_nothing(docker, build, repository, images_in):
    ref = build(f"{repository.uri}:v1", "once")
    first = docker.run("push", ref)
    before = images_in(repository.name)
    second = docker.run("push", ref)
    assert first.splitlines()[-1] == second.splitlines()[-1]
    assert "Pushed" not in second
    assert second.count("Layer already exists") == 2
    assert images_in(repository.name) == before


def test_moved_tag_leaves_the_older_image_untagged(docker, build, repository, images_in):
    ref = build(f"{repository.uri}:latest", "older")
    docker.run("push", ref)
    older = repo_digest(docker, ref)
    docker.run("image", "rm", ref)
    build(ref, "newer")
    docker.run("push", ref)
    images = images_in(repository.name)
    assert len(images) == 2
    assert "imageTags" not in images[older]
    assert images[repo_digest(docker, ref)]["imageTags"] == ["latest"]
    docker.run("pull", f"{repository.uri}@{older}")
    assert docker.run("run", "--rm", f"{repository.uri}@{older}") == "older"


def test_push_to_a_repository_that_does_not_exist_fails_with_ecrs_text(docker, build, server):
    ref = build(f"{server.registry}/no/such:v1", "lost")
    said = docker.fail("push", ref)
    assert "The repository with name 'no/such' does not exist in the registry with id '000000000000'" in said


def test_overwrite_of_an_immutable_tag_is_refused_with_ecrs_text(docker, build, make_repository, images_in):
    repository = make_repository(imageTagMutability="IMMUTABLE")
    ref = build(f"{repository.uri}:v1", "first")
    docker.run("push", ref)
    before = images_in(repository.name)
    docker.run("push", ref)
    docker.run("image", "rm", ref)
    build(ref, "second")
    said = docker.fail("push", ref)
    assert (
        f"The image tag 'v1' already exists in the '{repository.name}' repository"
        " and cannot be overwritten because the tag is immutable" in said
    )
    images = images_in(repository.name)
    assert [image for image in images.values() if "imageTags" in image] == list(before.values())


def test_image_deleted_by_the_api_cannot_be_pulled(aws, docker, build, repository):
    ref = build(f"{repository.uri}:v1", "short-lived")
    docker.run("push", ref)
    docker.run("image", "rm", ref)
    ids = ("--repository-name", repository.name, "--image-ids", "imageTag=v1")
    deleted = aws.json("batch-delete-image", *ids)
    assert deleted["failures"] == []
    assert deleted["imageIds"][0]["imageTag"] == "v1"
    said = docker.fail("pull", ref)
    assert f"manifest for {ref} not found: manifest unknown" in said


@pytest.mark.parametrize("docker_format", [False, True], ids=["oci", "docker"])
def test_image_put_by_the_api_is_pulled_and_run(docker, ecr, repository, make_image, docker_format):
    image = make_image("put by hand", padding=12 << 20, docker=docker_format)
    for blob in (image.config, *image.layers):
        upload = ecr.initiate_layer_upload(repositoryName=repository.name)
        ids = {"repositoryName": repository.name, "uploadId": upload["uploadId"]}
        for first in range(0, len(blob), upload["partSize"]):
            part = blob[first : first + upload["partSize"]]
            last = first + len(part) - 1
            said = ecr.upload_layer_part(**ids, partFirstByte=first, partLastByte=last, layerPartBlob=part)
            assert said["lastByteReceived"] == last
        digest = f"sha256:{hashlib.sha256(blob).hexdigest()}"
        assert ecr.complete_layer_upload(**ids, layerDigests=[digest])["layerDigest"] == digest
    put = ecr.put_image(
        repositoryName=repository.name,
        imageManifest=image.manifest.decode(),
        imageManifestMediaType=image.media_type,
        imageTag="v1",
    )
    assert put["image"]["imageId"] == {"imageDigest": image.digest, "imageTag": "v1"}
    ref = f"{repository.uri}:v1"
    assert f"Digest: {image.digest}" in docker.run("pull", ref)
    assert docker.run("run", "--rm", ref) == "put by hand"


def test_manifest_list_is_stored_byte_for_byte_and_pulled(docker, build, repository, ecr, images_in):
    children = {}
    for architecture in ("amd64", "arm64"):
        children[architecture] = build(f"{repository.uri}:{architecture}", f"for {architecture}")
        docker.run("push", children[architecture])
    ref = f"{repository.uri}:multi"
    docker.run("manifest", "create", "--insecure", ref, *children.values())
    docker.run("manifest", "annotate", "--os", "linux", "--arch", "arm64", ref, children["arm64"])
    pushed = docker.run("manifest", "push", "--insecure", ref).splitlines()[-1]

    found = ecr.batch_get_image(
        repositoryName=repository.name, imageIds=[{"imageTag": "multi"}], acceptedMediaTypes=[MANIFEST_LIST]
    )
    [image] = found["images"]
    assert image["imageManifestMediaType"] == MANIFEST_LIST
    assert f"sha256:{hashlib.sha256(image['imageManifest'].encode()).hexdigest()}" == pushed
    assert image["imageId"]["imageDigest"] == pushed
    listed = {
        child["platform"]["architecture"]: child["digest"]
        for child in json.loads(image["imageManifest"])["manifests"]
    }
    assert listed == {name: repo_digest(docker, child) for name, child in children.items()}
    assert images_in(repository.name)[pushed]["imageTags"] == ["multi"]

    docker.run("image", "rm", *children.values())
    assert f"Digest: {pushed}" in docker.run("pull", ref)
    assert docker.run("run", "--rm", ref) == "for amd64"


def test_child_of_a_manifest_list_cannot_be_deleted_before_the_list(docker, build, repository, aws):
    child = build(f"{repository.uri}:child", "child")
    docker.run("push", child)
    ref = f"{repository.uri}:list"
    docker.run("manifest", "create", "--insecure", ref, child)
    docker.run("manifest", "push", "--insecure", ref)
    ids = ("--repository-name", repository.name, "--image-ids", f"imageDigest={repo_digest(docker, child)}")
    [failure] = aws.json("batch-delete-image", *ids)["failures"]
    assert failure["failureCode"] == "ImageReferencedByManifestList"
    docker.run("pull", ref)


def test_pushed_layers_are_available_and_downloaded_by_the_api(
    docker, build, repository, ecr, manifest_of, download
):
    ref = build(f"{repository.uri}:v1", "layers")
    docker.run("push", ref)
    _, manifest = manifest_of(repository.name, "v1")
    digests = [layer["digest"] for layer in manifest["layers"]]
    unknown = f"sha256:{'0' * 64}"
    said = ecr.batch_check_layer_availability(
        repositoryName=repository.name, layerDigests=[*digests, unknown]
    )
    availability = {layer["layerDigest"]: layer["layerAvailability"] for layer in said["layers"]}
    assert {digest: availability[digest] for digest in digests} == dict.fromkeys(digests, "AVAILABLE")
    if unknown in availability:
        assert availability[unknown] == "UNAVAILABLE"
    else:
        assert said["failures"][0]["layerDigest"] == unknown
    for digest in digests:
        answer = ecr.get_download_url_for_layer(repositoryName=repository.name, layerDigest=digest)
        assert f"sha256:{hashlib.sha256(download(answer['downloadUrl'])).hexdigest()}" == digest


def test_image_pushed_to_a_second_repository_is_whole_in_both(
    docker, build, make_repository, manifest_of, ecr
):
    first, second = make_repository(), make_repository()
    ref = build(f"{first.uri}:v1", "twice")
    docker.run("push", ref)
    docker.run("tag", ref, f"{second.uri}:v1")
    docker.run("push", f"{second.uri}:v1")
    assert manifest_of(first.name, "v1") == manifest_of(second.name, "v1")
    ecr.batch_delete_image(repositoryName=first.name, imageIds=[{"imageTag": "v1"}])
    docker.run("image", "rm", ref, f"{second.uri}:v1")
    docker.run("pull", f"{second.uri}:v1")
    assert docker.run("run", "--rm", f"{second.uri}:v1") == "twice"


def test_layers_of_another_repository_are_mounted_where_the_account_says_so(
    docker, build, make_repository, ecr, images_in
):
    first, second = make_repository(), make_repository()
    ecr.put_account_setting(name="BLOB_MOUNTING", value="ENABLED")
    try:
        build(f"{first.uri}:v1", "mounted")
        docker.run("push", f"{first.uri}:v1")
        docker.run("tag", f"{first.uri}:v1", f"{second.uri}:v1")
        assert f"Mounted from {first.name}" in docker.run("push", f"{second.uri}:v1")
    finally:
        ecr.put_account_setting(name="BLOB_MOUNTING", value="DISABLED")
    assert images_in(second.name).keys() == images_in(first.name).keys()
    docker.run("image", "rm", f"{first.uri}:v1", f"{second.uri}:v1")
    docker.run("pull", f"{second.uri}:v1")
    assert docker.run("run", "--rm", f"{second.uri}:v1") == "mounted"


def test_image_of_many_and_large_layers_goes_up_and_down_in_parallel(docker, build, repository, images_in):
    steps = [f"RUN echo {n} > /{n}" for n in range(8)]
    large = [f"RUN /bin/busybox dd if=/dev/urandom of=/large-{n} bs=1M count=24" for n in range(2)]
    ref = build(f"{repository.uri}:v1", "many layers", *steps, *large, buildkit=True)
    docker.run("push", ref)
    [image] = images_in(repository.name).values()
    assert image["imageSizeInBytes"] > 48 << 20
    docker.run("image", "rm", ref)
    docker.run("pull", ref)
    assert docker.run("run", "--rm", ref, "/bin/cat", "/greeting", "/0", "/7") == "many layers0\n7"


def test_server_that_asks_for_a_token_takes_it_and_nothing_less(docker, build, token_server, token_password):
    ref = build(f"{token_server.registry}/app:v1", "for those who log in")
    login = ("login", "--username", "AWS", "--password-stdin", token_server.registry)
    with trusted_by_docker(token_server):
        assert "no basic auth credentials" in docker.fail("push", ref)
        assert "Login Succeeded" not in docker.fail(*login, stdin="wrong")
        docker.run(*login, stdin=token_password)
        docker.run("push", ref)
        docker.run("image", "rm", ref)
        docker.run("pull", ref)
        assert docker.run("run", "--rm", ref) == "for those who log in"
        docker.run("logout", token_server.registry)
        docker.run("image", "rm", ref)
        assert "no basic auth credentials" in docker.fail("pull", ref)


def test_engine_reaches_no_server_whose_ca_it_does_not_trust(docker, build, https_server, password_of):
    ref = build(f"{https_server.registry}/app:untrusted", "for nobody")
    login = ("login", "--username", "AWS", "--password-stdin", https_server.registry)
    assert UNTRUSTED in docker.fail(*login, stdin=password_of(https_server))
    assert UNTRUSTED in docker.fail("push", ref)
    assert UNTRUSTED in docker.fail("pull", ref)
