"""The Python client of ORAS, which sends a body before it learns that it has to log in."""

from __future__ import annotations

import oras.client
import pytest
import requests

from tests.clients.conftest import BRIDGE_ADDRESS

SBOM = "application/spdx+json"


@pytest.fixture
def make_oras(monkeypatch):
    """Gives clients with a password, which go to the server whatever proxy is set for others."""
    monkeypatch.setenv("NO_PROXY", f"127.0.0.1,{BRIDGE_ADDRESS}")
    made = []

    def make(server, password, **options):
        trust = {"tls_verify": str(server.ca_file)} if server.ca_file else {"insecure": True}
        client = oras.client.OrasClient(
            hostname=server.registry, auth_backend="basic", **{**trust, **options}
        )
        made.append(client)
        client.auth.set_basic_auth("AWS", password)
        return client

    yield make
    for client in made:
        client.session.close()


@pytest.fixture
def client(make_oras, server, password):
    return make_oras(server, password)


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A file in the folder that the test is in, as the client wants those that it pushes to be."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("pushed by Python")
    return "notes.txt"


def test_file_is_pushed_described_and_pulled(client, file, repository, images_in, tmp_path):
    ref = f"{repository.uri}:v1"
    client.push(files=[f"{file}:text/plain"], target=ref, manifest_annotations={"team": "shop"})
    [described] = images_in(repository.name).values()
    assert described["imageTags"] == ["v1"]
    assert described["imageManifestMediaType"] == "application/vnd.oci.image.manifest.v1+json"
    manifest = client.get_manifest(ref)
    assert manifest["annotations"] == {"team": "shop"}
    assert described["imageSizeInBytes"] == sum(
        part["size"] for part in [manifest["config"], *manifest["layers"]]
    )
    assert described["artifactMediaType"] == manifest["config"]["mediaType"]
    [pulled] = client.pull(target=ref, outdir=str(tmp_path / "out"))
    assert (tmp_path / "out" / file).read_text() == "pushed by Python"
    assert pulled.endswith(file)


def test_file_goes_up_in_chunks(client, repository, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = bytes(range(256)) * 4096
    (tmp_path / "large").write_bytes(content)
    ref = f"{repository.uri}:large"
    client.push(files=["large:application/octet-stream"], target=ref, do_chunked=True, chunk_size=300_000)
    client.pull(target=ref, outdir=str(tmp_path / "out"))
    assert (tmp_path / "out" / "large").read_bytes() == content


def test_tags_are_those_of_the_api(client, file, repository, ecr):
    for tag in ("v1", "v2", "v3"):
        client.push(files=[f"{file}:text/plain"], target=f"{repository.uri}:{tag}")
    ecr.batch_delete_image(repositoryName=repository.name, imageIds=[{"imageTag": "v2"}])
    assert client.get_tags(repository.uri) == ["v1", "v3"]


def test_attached_artifact_is_a_referrer(client, file, repository, ecr, referrers_of):
    ref = f"{repository.uri}:v1"
    client.push(files=[f"{file}:text/plain"], target=ref)
    [image] = ecr.describe_images(repositoryName=repository.name)["imageDetails"]
    head = client.do_request(f"http://{client.get_container(ref).manifest_url()}", "HEAD")
    subject = {
        "mediaType": head.headers["Content-Type"],
        "digest": head.headers["Docker-Content-Digest"],
        "size": int(head.headers["Content-Length"]),
    }
    assert subject["digest"] == image["imageDigest"]
    manifest = {**client.get_manifest(ref), "artifactType": SBOM, "subject": subject}
    pushed = client.upload_manifest(manifest, client.get_container(f"{repository.uri}:sbom"))
    assert pushed.status_code == 201
    assert pushed.headers["OCI-Subject"] == subject["digest"]
    assert referrers_of(repository.name, subject["digest"]) == {pushed.headers["Docker-Content-Digest"]: SBOM}


def test_delete_is_refused_as_ecr_refuses_it_and_nothing_is_gone(client, file, repository, tags_in):
    client.push(files=[f"{file}:text/plain"], target=f"{repository.uri}:v1")
    before = tags_in(repository.name)
    with pytest.raises(RuntimeError, match="UNSUPPORTED"):
        client.delete_tag(repository.uri, "v1")
    assert tags_in(repository.name) == before


def test_push_to_a_repository_that_does_not_exist_fails_with_ecrs_text(client, file, server):
    with pytest.raises(ValueError, match="The repository with name 'no/such' does not exist in the registry"):
        client.push(files=[f"{file}:text/plain"], target=f"{server.registry}/no/such:v1")


def test_server_that_asks_for_a_token_takes_it_and_nothing_less(
    make_oras, file, token_server, token_password, tmp_path
):
    ref = f"{token_server.registry}/app:oras-python"
    with pytest.raises(ValueError, match="UNAUTHORIZED"):
        make_oras(token_server, "wrong").push(files=[f"{file}:text/plain"], target=ref)
    client = make_oras(token_server, token_password)
    client.push(files=[f"{file}:text/plain"], target=ref)
    assert "oras-python" in client.get_tags(ref)
    client.pull(target=ref, outdir=str(tmp_path / "out"))
    assert (tmp_path / "out" / file).read_text() == "pushed by Python"


def test_server_whose_ca_is_not_trusted_gets_nothing(make_oras, file, https_server, password_of):
    client = make_oras(https_server, password_of(https_server), tls_verify=True)
    with pytest.raises(requests.exceptions.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
        client.push(files=[f"{file}:text/plain"], target=f"{https_server.registry}/app:untrusted")
