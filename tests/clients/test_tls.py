"""The AWS CLI over TLS, and the set-up with AWS's own names. Other clients over TLS: in their modules."""

from __future__ import annotations

import json
import re
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from tests.clients.conftest import Client, aws_of, find_tool
from tests.serving import PATH, ROOT


def test_the_aws_cli_trusts_the_ca_that_it_is_told_of(https_server, tmp_path):
    aws = aws_of(https_server, tmp_path)
    [repository] = aws.json("describe-repositories")["repositories"]
    assert repository["repositoryUri"] == f"{https_server.registry}/app"
    [data] = aws.json("get-authorization-token")["authorizationData"]
    assert data["proxyEndpoint"] == https_server.url
    untold = aws_of(replace(https_server, ca_file=None), tmp_path)
    assert "CERTIFICATE_VERIFY_FAILED" in untold.fail("describe-repositories", AWS_MAX_ATTEMPTS="1")


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
