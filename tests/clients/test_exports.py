"""Exports as other programs read them, and images that others wrote as seeds."""

from __future__ import annotations

import hashlib
import json
import sys
import tarfile
from pathlib import Path

import pytest

from tests.clients.conftest import Client
from tests.serving import ROOT

REGISTRY = "000000000000.dkr.ecr.us-east-1.amazonaws.com"


@pytest.fixture
def ecr_emulator(server, tmp_path):
    """The command, on the data folder of the server that runs."""
    client = Client(sys.executable, "-m", "ecr_emulator", home=tmp_path, env={"PYTHONPATH": str(ROOT)})

    def run(command, *args):
        return client.run(command, *args, "--data-dir", server.data_dir)

    return run


@pytest.fixture
def push(skopeo, new_layout):
    """Pushes an image, or an index of one for each architecture, and returns its digest."""

    def push(ref, text, *architectures):
        folder, digest = new_layout(text, *architectures)
        skopeo.run("copy", "--dest-tls-verify=false", "--all", f"oci:{folder}:v1", f"docker://{ref}")
        return digest

    return push


@pytest.fixture
def exported(push, make_repository, ecr_emulator, tmp_path):
    """A repository with an image and an index, and its export."""
    repository = make_repository("exported/app")
    digests = {
        "one": push(f"{repository.uri}:one", "exported"),
        "multi": push(f"{repository.uri}:multi", "exported, too", "amd64", "arm64"),
    }
    ecr_emulator("export", tmp_path / "export.tar")
    return repository, digests, tmp_path / "export.tar"


def index_digest(layout: Path) -> str:
    [entry] = json.loads((layout / "index.json").read_text())["manifests"]
    return str(entry["digest"])


def test_skopeo_reads_an_export_as_it_is(skopeo, exported, tmp_path):
    repository, digests, archive = exported
    for tag, digest in digests.items():
        ref = f"oci-archive:{archive}:{REGISTRY}/{repository.name}:{tag}"
        raw = skopeo.call(("inspect", "--raw", ref), None, {})[1]
        assert f"sha256:{hashlib.sha256(raw.encode()).hexdigest()}" == digest
        skopeo.run("copy", "--all", ref, f"oci:{tmp_path / tag}:v1")
        assert index_digest(tmp_path / tag) == digest


def test_skopeo_reads_the_layout_of_a_repository(skopeo, exported, tmp_path):
    repository, digests, archive = exported
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path / "all", filter="data")
    layout = tmp_path / "all" / "000000000000" / "us-east-1" / repository.name.replace("/", "+")
    for tag, digest in digests.items():
        skopeo.run("copy", "--all", f"oci:{layout}:{tag}", f"oci:{tmp_path / tag}:v1")
        assert index_digest(tmp_path / tag) == digest


def test_crane_pushes_the_layout_of_a_repository_as_one_index(
    make_client, exported, make_repository, images_in, tmp_path
):
    crane = make_client("crane")
    repository, digests, archive = exported
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path / "all", filter="data")
    layout = tmp_path / "all" / "000000000000" / "us-east-1" / repository.name.replace("/", "+")
    target = make_repository()
    crane.run("push", "--insecure", "--index", layout, f"{target.uri}:all")
    assert set(digests.values()) <= images_in(target.name).keys()


@pytest.mark.parametrize("origin", ["docker", "skopeo"])
def test_seeded_images_are_those_that_docker_saved(
    request, ecr_emulator, build_folder, new_layout, make_repository, skopeo, tmp_path, origin
):
    repository = make_repository("seeded/app")
    archive = tmp_path / "saved.tar"
    docker = request.getfixturevalue("docker")
    if origin == "docker":
        docker.run("build", "--quiet", "--tag", "saved/app:v1", build_folder("base", "hello, seed"))
        docker.run("save", "--output", archive, "saved/app:v1")
    else:
        folder, _ = new_layout("hello, seed")
        skopeo.run("copy", f"oci:{folder}:v1", f"docker-archive:{archive}:saved/app:v1")
    image = {"tags": ["v1"], "docker_archive": archive.name, "ref": "saved/app:v1"}
    seed = tmp_path / "seed.json"
    seed.write_text(json.dumps({"repositories": [{"name": repository.name, "images": [image]}]}))
    ecr_emulator("seed", seed)
    docker.run("pull", f"{repository.uri}:v1")
    assert docker.run("run", "--rm", f"{repository.uri}:v1") == "hello, seed"


def test_docker_pulls_and_keeps_what_was_generated(docker, ecr_emulator, make_repository, tmp_path):
    repository = make_repository("generated/app")
    image = {"tags": ["v1"], "generate": {"layers": [1000, 5_000_000]}}
    seed = tmp_path / "seed.json"
    seed.write_text(json.dumps({"repositories": [{"name": repository.name, "images": [image]}]}))
    ecr_emulator("seed", seed)
    docker.run("pull", f"{repository.uri}:v1")
    sizes = docker.run("image", "inspect", "--format", "{{.Size}}", f"{repository.uri}:v1")
    assert int(sizes) == 5_001_000
