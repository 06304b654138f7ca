"""containerd, by its client ctr: what a Kubernetes node pulls with."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path

import pytest

from tests.clients.conftest import UNTRUSTED, Client, find_tool
from tests.serving import api_of, await_ready, stop

CONFIG = """
version = 2
root = "{folder}/root"
state = "{folder}/state"
# The plugins for Kubernetes and for add-ons, which would keep things elsewhere.
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
[grpc]
address = "{folder}/containerd.sock"
"""


@pytest.fixture(scope="module")
def ctr(logs):
    """The client of a containerd that keeps all it has in a folder of its own."""
    # A short path: the names of sockets are limited to 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="ecr-ctr-"))
    log, config = folder / "containerd.log", folder / "config.toml"
    config.write_text(CONFIG.format(folder=folder))
    ctr = Client(find_tool("ctr"), "--address", f"{folder}/containerd.sock", home=folder)
    with log.open("wb") as output:
        containerd = subprocess.Popen(
            [find_tool("containerd"), "--config", str(config)],
            env=ctr.env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    logs["containerd's log"] = log
    try:
        await_ready("containerd", containerd, log, lambda: ctr.call(("version",), None, {})[0] == 0)
        yield ctr
    finally:
        stop("containerd", containerd, log)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def pull(password):
    return ("images", "pull", "--plain-http", "--user", f"AWS:{password}", "--snapshotter", "native")


@pytest.fixture(scope="session")
def push(password):
    return ("images", "push", "--plain-http", "--user", f"AWS:{password}")


@pytest.fixture
def new_image(ctr, make_image, write_layout, tmp_path):
    """Imports an image, or an index of one for each architecture, under a name; gives its digest."""

    def new(ref, text, *architectures):
        folder = tmp_path / uuid.uuid4().hex
        name, _, tag = ref.rpartition(":")
        images = [make_image(text, architecture=each) for each in architectures or ("amd64",)]
        digest = write_layout(folder, tag, *images)
        archive = shutil.make_archive(str(folder), "tar", folder)
        ctr.run("images", "import", "--all-platforms", "--no-unpack", "--base-name", name, archive)
        return digest

    return new


def run(ctr, ref):
    """What the image prints."""
    runtime = ("--snapshotter", "native", "--runc-binary", find_tool("runc"))
    return ctr.run("run", "--rm", *runtime, ref, uuid.uuid4().hex)


def test_image_is_pushed_described_pulled_and_run(ctr, new_image, pull, push, repository, images_in):
    ref = f"{repository.uri}:v1"
    digest = new_image(ref, "hello from containerd")
    ctr.run(*push, ref)
    described = images_in(repository.name)[digest]
    assert described["imageTags"] == ["v1"]
    assert "lastRecordedPullTime" not in described
    ctr.run("images", "rm", "--sync", ref)
    ctr.run(*pull, ref)
    assert run(ctr, ref) == "hello from containerd"
    assert "lastRecordedPullTime" in images_in(repository.name)[digest]
    ctr.run(*pull, f"{repository.uri}@{digest}")


def test_index_goes_up_and_down_with_all_its_images(
    ctr, new_image, pull, push, repository, manifest_of, tags_in
):
    ref = f"{repository.uri}:multi"
    digest = new_image(ref, "many", "amd64", "arm64")
    ctr.run(*push, ref)
    stored, index = manifest_of(repository.name, "multi")
    assert stored == digest
    children = [child["digest"] for child in index["manifests"]]
    assert tags_in(repository.name) == {digest: ["multi"], children[0]: [], children[1]: []}
    ctr.run("images", "rm", "--sync", ref)
    ctr.run(*pull, "--all-platforms", ref)
    assert all(child in ctr.run("content", "ls", "--quiet") for child in children)
    assert run(ctr, ref) == "many"


def test_image_pushed_to_a_second_repository_is_whole_there(
    ctr, new_image, pull, push, make_repository, tags_in, ecr
):
    source, target = make_repository(), make_repository("second/blobs/uploads")
    digest = new_image(f"{source.uri}:v1", "twice")
    ctr.run(*push, f"{source.uri}:v1")
    ctr.run("images", "tag", f"{source.uri}:v1", f"{target.uri}:v2")
    ctr.run(*push, f"{target.uri}:v2")
    assert tags_in(target.name) == {digest: ["v2"]}
    ecr.delete_repository(repositoryName=source.name, force=True)
    ecr.create_repository(repositoryName=source.name)
    ctr.run("images", "rm", "--sync", f"{source.uri}:v1", f"{target.uri}:v2")
    ctr.run(*pull, f"{target.uri}:v2")
    assert run(ctr, f"{target.uri}:v2") == "twice"
    assert "not found" in ctr.fail(*pull, f"{source.uri}:v1")


def test_immutable_tag_stays_where_it_is(ctr, new_image, push, make_repository, tags_in):
    repository = make_repository(imageTagMutability="IMMUTABLE")
    ref = f"{repository.uri}:v1"
    digest = new_image(ref, "first")
    ctr.run(*push, ref)
    new_image(ref, "second")
    ctr.fail(*push, ref)
    assert {key: tags for key, tags in tags_in(repository.name).items() if tags} == {digest: ["v1"]}


def test_mirror_is_told_which_registry_it_stands_for(ctr, new_image, push, server, tmp_path):
    """Image names as they are with AWS, and a hosts file that leads to the emulator, as nodes have it."""
    registry = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"
    name = f"mirrored/{uuid.uuid4().hex[:12]}"
    api = api_of(server, account="111122223333", region="eu-west-1")
    api.create_repository(repositoryName=name)
    try:
        folder = tmp_path / "certs.d" / registry
        folder.mkdir(parents=True)
        mirror = f'[host."{server.url}"]\n  capabilities = ["pull", "resolve", "push"]\n'
        (folder / "hosts.toml").write_text(f'server = "https://{registry}"\n\n{mirror}')
        hosts = ("--hosts-dir", folder.parent)
        ref = f"{registry}/{name}:v1"
        digest = new_image(ref, "from the mirror")
        ctr.run("images", "push", *hosts, ref)
        [image] = api.describe_images(repositoryName=name)["imageDetails"]
        assert image["imageDigest"] == digest
        ctr.run("images", "rm", "--sync", ref)
        ctr.run("images", "pull", "--snapshotter", "native", *hosts, ref)
        assert run(ctr, ref) == "from the mirror"
    finally:
        api.delete_repository(repositoryName=name, force=True)


def test_server_that_asks_for_a_token_takes_it_and_nothing_less(ctr, new_image, token_server, token_password):
    ref = f"{token_server.registry}/app:containerd"
    new_image(ref, "for those who log in")
    reach = ("--tlscacert", token_server.ca_file) if token_server.ca_file else ("--plain-http",)
    push, user = ("images", "push", *reach), ("--user", f"AWS:{token_password}")
    assert "401 Unauthorized" in ctr.fail(*push, ref)
    assert "401 Unauthorized" in ctr.fail(*push, "--user", "AWS:wrong", ref)
    ctr.run(*push, *user, ref)
    ctr.run("images", "rm", "--sync", ref)
    pull = ("images", "pull", *reach, "--snapshotter", "native")
    assert "401 Unauthorized" in ctr.fail(*pull, ref)
    if token_server.ca_file:
        assert UNTRUSTED in ctr.fail("images", "pull", *user, ref)
    ctr.run(*pull, *user, ref)
    assert run(ctr, ref) == "for those who log in"
