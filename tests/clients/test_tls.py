"""Clients that check the server's certificate: with its CA trusted, and AWS's names for the server."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from tests.clients.conftest import BRIDGE_ADDRESS, Client, aws_of, find_tool
from tests.serving import PATH, ROOT, api_of, serve

UNTRUSTED = "certificate signed by unknown authority"
FLAGS = ("--tls", "on", "--auth", "token")


@pytest.fixture(scope="module")
def tls_server(tmp_path_factory, logs):
    """An emulator that speaks TLS and asks for a token, with the repository ``app``."""
    with serve(tmp_path_factory.mktemp("tls-server"), logs, *FLAGS) as tls_server:
        api_of(tls_server).create_repository(repositoryName="app")
        yield tls_server


@pytest.fixture(scope="module")
def tls_aws(tls_server, tmp_path_factory):
    return aws_of(tls_server, tmp_path_factory.mktemp("tls-aws"))


@pytest.fixture(scope="module")
def login(tls_aws):
    return ("--username", "AWS", "--password-stdin"), tls_aws.run("get-login-password")


@pytest.fixture(scope="module")
def cert_dir(tls_server, tmp_path_factory):
    """A folder in the form in which podman, buildah and skopeo take a CA."""
    folder = tmp_path_factory.mktemp("certs")
    shutil.copy(tls_server.ca_file, folder / "ca.crt")
    return folder


def test_the_aws_cli_trusts_the_ca_that_it_is_told_of(tls_server, tls_aws, tmp_path):
    [repository] = tls_aws.json("describe-repositories")["repositories"]
    assert repository["repositoryUri"] == f"{tls_server.registry}/app"
    [data] = tls_aws.json("get-authorization-token")["authorizationData"]
    assert data["proxyEndpoint"] == tls_server.url
    untold = aws_of(replace(tls_server, ca_file=None), tmp_path)
    assert "CERTIFICATE_VERIFY_FAILED" in untold.fail("describe-repositories", AWS_MAX_ATTEMPTS="1")


def test_skopeo_pushes_and_pulls(
    skopeo, make_image, write_layout, tls_server, tls_aws, login, cert_dir, tmp_path
):
    digest = write_layout(tmp_path / "in", "v1", make_image("over TLS"))
    ref = f"docker://{tls_server.registry}/app:skopeo"
    arguments, password = login
    skopeo.run("login", "--cert-dir", cert_dir, *arguments, tls_server.registry, stdin=password)
    assert UNTRUSTED in skopeo.fail("copy", f"oci:{tmp_path}/in:v1", ref)
    skopeo.run("copy", "--dest-cert-dir", cert_dir, f"oci:{tmp_path}/in:v1", ref)
    named = ("--repository-name", "app", "--image-ids", "imageTag=skopeo")
    [image] = tls_aws.json("describe-images", *named)["imageDetails"]
    assert image["imageDigest"] == digest
    skopeo.run("copy", "--src-cert-dir", cert_dir, ref, f"oci:{tmp_path}/out:v1")
    [pulled] = json.loads((tmp_path / "out" / "index.json").read_text())["manifests"]
    assert pulled["digest"] == digest


def test_buildah_pushes_and_pulls(buildah, base_tar, tls_server, tls_aws, login, cert_dir):
    ref = f"{tls_server.registry}/app:buildah"
    arguments, password = login
    buildah.run("login", "--cert-dir", cert_dir, *arguments, tls_server.registry, stdin=password)
    container = buildah.run("from", "scratch")
    buildah.run("add", container, base_tar)
    buildah.run("commit", "--rm", container, ref)
    assert UNTRUSTED in buildah.fail("push", ref)
    buildah.run("push", "--cert-dir", cert_dir, "--digestfile", "digest", ref)
    named = ("--repository-name", "app", "--image-ids", "imageTag=buildah")
    [image] = tls_aws.json("describe-images", *named)["imageDetails"]
    assert image["imageDigest"] == buildah.read("digest")
    buildah.run("rmi", "--force", ref)
    buildah.run("pull", "--cert-dir", cert_dir, ref)


def test_podman_pushes_pulls_and_runs(podman, build_folder, tls_server, login, cert_dir):
    ref = f"{tls_server.registry}/app:podman"
    podman.run("build", "--quiet", "--tag", ref, build_folder("localhost/base", "over TLS"))
    arguments, password = login
    podman.run("login", "--cert-dir", cert_dir, *arguments, tls_server.registry, stdin=password)
    assert UNTRUSTED in podman.fail("push", ref)
    podman.run("push", "--cert-dir", cert_dir, ref)
    podman.run("rmi", "--force", ref)
    podman.run("pull", "--cert-dir", cert_dir, ref)
    assert podman.run("run", "--rm", "--network", "none", ref) == "over TLS"


@contextlib.contextmanager
def trusted_by_docker(server):
    """Put the CA where every engine of the machine looks for it, and take it away again."""
    folder = Path("/etc/docker/certs.d", server.registry)
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copy(server.ca_file, folder / "ca.crt")
        yield
    finally:
        (folder / "ca.crt").unlink()
        for path in made:
            path.rmdir()


def test_docker_pushes_pulls_and_runs(docker, build_folder, tmp_path, logs):
    # Not on 127.0.0.1, for which an engine does not check certificates.
    with serve(tmp_path, logs, *FLAGS, host=BRIDGE_ADDRESS) as server:
        api_of(server).create_repository(repositoryName="app")
        ref = f"{server.registry}/app:docker"
        login = ("login", "--username", "AWS", "--password-stdin", server.registry)
        aws = aws_of(server, tmp_path)
        password = aws.run("get-login-password")
        docker.run("build", "--quiet", "--tag", ref, build_folder("base", "over TLS"))
        assert UNTRUSTED in docker.fail(*login, stdin=password)
        with trusted_by_docker(server):
            docker.run(*login, stdin=password)
            docker.run("push", ref)
            docker.run("image", "rm", ref)
            docker.run("pull", ref)
            assert docker.run("run", "--rm", ref) == "over TLS"
        assert UNTRUSTED in docker.fail("pull", ref)
        docker.run("logout", server.registry)
        [image] = aws.json("describe-images", "--repository-name", "app")["imageDetails"]
        assert image["imageTags"] == ["docker"]


# --------------------------------------------------------------------- the set-up with AWS's own names

REGISTRY = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
# What a script goes on with: the other clients, which are led by the same two variables.
PODMAN = f"""
podman pull {REGISTRY}/app:v1
podman tag {REGISTRY}/app:v1 {REGISTRY}/app:podman
podman push {REGISTRY}/app:podman
aws ecr describe-images --repository-name app --image-ids imageTag=podman
"""
DOCKER = f"""
export DOCKER_HOST=unix://$PWD/docker.sock
until "$DOCKER" version; do sleep 0.2; done > /dev/null 2>&1
"$DOCKER" pull {REGISTRY}/app:v1
"$DOCKER" tag {REGISTRY}/app:v1 {REGISTRY}/app:docker
"$DOCKER" push {REGISTRY}/app:docker
aws ecr describe-images --repository-name app --image-ids imageTag=docker
"""


def blocks_of_the_documentation():
    """The script of docs/tls.md, and the command that it gives for an engine."""
    text = (ROOT / "docs" / "tls.md").read_text()
    [script] = re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    [engine] = re.findall(r"^(dockerd .*? &)$", text, re.DOTALL | re.MULTILINE)
    return script, engine


@pytest.fixture
def transparent(podman, make_image, write_layout):
    """Runs the documentation's script, and what follows it, in namespaces that end with it."""
    for tool in ("docker-credential-ecr-login", "skopeo", "curl", "ip", "ecr-emulator", "aws"):
        find_tool(tool)
    # A short path: the names of sockets are limited to 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="ecr-tls-"))
    digest = write_layout(folder / "image", "v1", make_image("by AWS's name"))
    env = {name: value for name, value in podman.env.items() if name.startswith("CONTAINERS_")}
    env |= {"PYTHONPATH": str(ROOT), "AWS_PAGER": "", "PATH": f"{Path(sys.executable).parent}:{PATH}"}
    env["DOCKER"] = "/usr/bin/docker" if Path("/usr/bin/docker").exists() else find_tool("docker")
    namespaces = ("--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
    bash = Client(find_tool("unshare"), *namespaces, "bash", home=folder, env=env)

    def run(*more):
        script, _ = blocks_of_the_documentation()
        return bash.run("-euxo", "pipefail", "-c", "\n".join([script, *more])), digest, folder

    yield run
    shutil.rmtree(folder, ignore_errors=True)


def described(out, tag):
    """What the last describe-images of a script's output says, which has the tag."""
    [image] = json.loads(out[out.rindex('{\n    "imageDetails"') :])["imageDetails"]
    assert tag in image["imageTags"]
    return image


def test_the_credential_helper_and_skopeo_work_by_awss_names(transparent):
    out, digest, folder = transparent()
    assert f'"repositoryUri": "{REGISTRY}/app"' in out
    image = described(out, "v1")
    assert (image["registryId"], image["imageDigest"]) == ("123456789012", digest)
    [pulled] = json.loads((folder / "pulled" / "index.json").read_text())["manifests"]
    assert pulled["digest"] == digest


def test_without_the_helper_the_registry_refuses(transparent):
    with pytest.raises(AssertionError, match=r"unauthorized|authentication required"):
        transparent('echo "{}" > docker/config.json', f"skopeo inspect docker://{REGISTRY}/app:v1")


def test_podman_works_by_awss_names(transparent):
    out, _, _ = transparent(PODMAN)
    assert described(out, "podman")["registryId"] == "123456789012"


def test_docker_works_by_awss_names(transparent):
    _, engine = blocks_of_the_documentation()
    stop = "trap 'kill $engine; wait $engine; kill %1; wait' EXIT"
    out, _, _ = transparent(engine.removesuffix("&") + " > dockerd.log 2>&1 &", "engine=$!", stop, DOCKER)
    assert described(out, "docker")["registryId"] == "123456789012"
