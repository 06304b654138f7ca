"""The pull-through cache in front of Debian's docker-registry, which asks for Basic or for tokens."""

from __future__ import annotations

import base64
import contextlib
import datetime
import http.server
import json
import subprocess
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from urllib.error import HTTPError, URLError
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

from tests.clients.conftest import find_tool
from tests.serving import api_of, await_ready, free_port, get, serve, stop

USERNAME, PASSWORD = "puller", "s3cret"
# bcrypt of the password, the only hash that docker-registry takes.
HTPASSWD = f"{USERNAME}:$2b$04$C1rFKnVKxiDUCeG13YIjkO7U5NEZEz61wWvXxhp6WTvF/ot/N6htq\n"
SECRET = "arn:aws:secretsmanager:us-east-1:000000000000:secret:ecr-pullthroughcache/hub-AbCdEf"

CONFIG = """
version: 0.1
log: {{level: warn}}
storage: {{filesystem: {{rootdirectory: {folder}/storage}}}}
http: {{addr: "127.0.0.1:{port}"}}
auth: {auth}
"""


@dataclass(frozen=True)
class Upstream:
    """A running docker-registry."""

    host: str
    stop: Callable[[], None]


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class TokenServer:
    """Gives docker-registry's tokens (RS256) for what is asked, to whoever has the password."""

    def __init__(self, folder):
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tokens")])
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder(name, name, self.key.public_key(), x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self.key, hashes.SHA256())
        )
        (folder / "tokens.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        self.certificate = certificate.public_bytes(serialization.Encoding.DER)

    def token(self, scopes):
        header = {"typ": "JWT", "alg": "RS256", "x5c": [base64.b64encode(self.certificate).decode()]}
        now = int(time.time())
        access = [
            {"type": kind, "name": name, "actions": actions.split(",")}
            for kind, name, actions in (scope.split(":") for scope in scopes)
        ]
        claims = {
            **{"iss": "tokens", "sub": USERNAME, "aud": "registry", "jti": uuid.uuid4().hex},
            **{"iat": now, "nbf": now - 60, "exp": now + 300, "access": access},
        }
        signed = ".".join(b64(json.dumps(part).encode()) for part in (header, claims))
        return f"{signed}.{b64(self.key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"

    @contextlib.contextmanager
    def running(self):
        expected = "Basic " + base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()
        tokens = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_args):
                pass

            def do_GET(self):
                scopes = parse_qs(urlsplit(self.path).query).get("scope", [])
                allowed = self.headers["Authorization"] == expected
                self.send_response(200 if allowed else 401)
                self.end_headers()
                if allowed:
                    self.wfile.write(json.dumps({"token": tokens.token(scopes)}).encode())

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.05,))
            thread.start()
            yield f"http://127.0.0.1:{server.server_address[1]}/token"
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def docker_registry(folder, logs, auth):
    port, log = free_port(), folder / "registry.log"
    config = folder / "config.yml"
    config.write_text(CONFIG.format(folder=folder, port=port, auth=json.dumps(auth)))
    with log.open("wb") as output:
        process = subprocess.Popen(
            [find_tool("docker-registry"), "serve", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    logs["docker-registry's log"] = log

    def ready():
        try:
            get(f"http://127.0.0.1:{port}/v2/")
        except HTTPError as error:
            error.close()
            return error.code == 401
        except URLError:
            return False
        return True

    def end():
        if process.poll() is None:
            # It does not count a signal as a graceful end.
            with contextlib.suppress(RuntimeError):
                stop("docker-registry", process, log)

    await_ready("docker-registry", process, log, ready)
    try:
        yield Upstream(f"127.0.0.1:{port}", end)
    finally:
        end()


@pytest.fixture(params=["basic", "token"])
def upstream(request, tmp_path, logs):
    """A docker-registry that nobody may pull from without the password."""
    folder = tmp_path / "upstream"
    folder.mkdir()
    with contextlib.ExitStack() as stack:
        if request.param == "basic":
            (folder / "htpasswd").write_text(HTPASSWD)
            auth = {"htpasswd": {"realm": "upstream", "path": f"{folder}/htpasswd"}}
        else:
            tokens = TokenServer(folder)
            realm = stack.enter_context(tokens.running())
            auth = {
                "token": {
                    "realm": realm,
                    "service": "registry",
                    "issuer": "tokens",
                    "rootcertbundle": f"{folder}/tokens.pem",
                }
            }
        yield stack.enter_context(docker_registry(folder, logs, auth))


@pytest.fixture
def cache(upstream, tmp_path, logs):
    """An emulator to which that registry is Docker Hub, with a rule for it and its password."""
    folder = tmp_path / "cache"
    folder.mkdir()
    secrets = folder / "secrets.toml"
    secrets.write_text(f'["{SECRET}"]\nusername = "{USERNAME}"\naccessToken = "{PASSWORD}"\n')
    flags = ("--upstreams", f"registry-1.docker.io=http://{upstream.host}", "--secrets", str(secrets))
    with serve(folder, logs, *flags) as server:
        api_of(server).create_pull_through_cache_rule(
            ecrRepositoryPrefix="hub", upstreamRegistryUrl="registry-1.docker.io", credentialArn=SECRET
        )
        yield server


@pytest.fixture
def push(upstream, skopeo, write_layout, tmp_path):
    """Pushes images to the upstream, several as an index; gives the digest."""

    def push(name, *images):
        folder = tmp_path / uuid.uuid4().hex
        digest = write_layout(folder, "it", *images)
        skopeo.run(
            *("copy", "--all", "--preserve-digests", "--dest-tls-verify=false"),
            *(
                "--dest-creds",
                f"{USERNAME}:{PASSWORD}",
                f"oci:{folder}:it",
                f"docker://{upstream.host}/{name}",
            ),
        )
        return digest

    return push


def test_docker_pulls_through_and_then_from_the_cache(docker, cache, upstream, push, make_image):
    image = make_image("from the upstream", padding=3 << 20)
    push("library/app:v1", image)
    ref = f"{cache.registry}/hub/library/app:v1"
    docker.run("pull", ref)
    assert docker.run("run", "--rm", ref) == "from the upstream"
    [described] = api_of(cache).describe_images(repositoryName="hub/library/app")["imageDetails"]
    assert (described["imageDigest"], described["imageTags"]) == (image.digest, ["v1"])
    assert described["imageSizeInBytes"] == image.size
    docker.run("image", "rm", ref)
    upstream.stop()
    docker.run("pull", ref)
    assert docker.run("run", "--rm", ref) == "from the upstream"
    docker.run("image", "rm", ref)


def test_an_index_is_cached_for_every_architecture(skopeo, cache, upstream, push, make_image, tmp_path):
    images = [make_image("many", architecture=name) for name in ("amd64", "arm64")]
    index = push("team/app:v1", *images)
    ref = f"docker://{cache.registry}/hub/team/app:v1"
    inspected = skopeo.json("inspect", "--tls-verify=false", "--override-arch", "arm64", ref)
    assert inspected["Architecture"] == "arm64"
    make_whole = urllib.request.Request(f"{cache.url}/_emulator/run/pull-through", method="POST")
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(make_whole).close()
    upstream.stop()
    skopeo.run("copy", "--all", "--preserve-digests", "--src-tls-verify=false", ref, f"oci:{tmp_path}/out:v1")
    [entry] = json.loads((tmp_path / "out" / "index.json").read_text())["manifests"]
    assert entry["digest"] == index


@pytest.fixture
def oras(make_client):
    return make_client("oras")


def test_artifacts_of_an_upstream_without_a_referrers_api_are_found(
    oras, cache, upstream, push, make_image, tmp_path
):
    subject = push("team/app:v1", make_image("subject"))
    (tmp_path / "sbom").write_text("what is in it")
    attach = (
        *("attach", "--plain-http", "--username", USERNAME, "--password", PASSWORD, "--format", "json"),
        *("--disable-path-validation", f"{upstream.host}/team/app:v1", f"{tmp_path}/sbom:text/plain"),
    )
    kinds = ["application/vnd.example.sbom", "application/vnd.example.scan"]
    attached = {oras.json(*attach, "--artifact-type", kind)["digest"]: kind for kind in kinds}
    name = "hub/team/app"
    found = oras.json("discover", "--plain-http", "--format", "json", f"{cache.registry}/{name}@{subject}")[
        "referrers"
    ]
    assert {entry["digest"]: entry["artifactType"] for entry in found} == attached
    listed = api_of(cache).list_image_referrers(repositoryName=name, subjectId={"imageDigest": subject})
    assert {entry["digest"]: entry["artifactType"] for entry in listed["referrers"]} == attached
    first, _ = attached
    (tmp_path / "sbom").unlink()
    oras.run("pull", "--plain-http", "--allow-path-traversal", f"{cache.registry}/{name}@{first}")
    assert (tmp_path / "sbom").read_text() == "what is in it"


def test_a_signature_in_a_tag_is_pulled_through(skopeo, cache, push, make_image, tmp_path):
    tag = push("team/app:v1", make_image("signed")).replace(":", "-") + ".sig"
    signature = push(f"team/app:{tag}", make_image("signature"))
    source = f"docker://{cache.registry}/hub/team/app:{tag}"
    skopeo.run("copy", "--preserve-digests", "--src-tls-verify=false", source, f"oci:{tmp_path}/out:sig")
    [entry] = json.loads((tmp_path / "out" / "index.json").read_text())["manifests"]
    assert entry["digest"] == signature


def test_docker_is_told_what_the_upstream_does_not_have(docker, cache):
    said = docker.fail("pull", f"{cache.registry}/hub/library/absent:v1")
    assert "The repository with name 'hub/library/absent' does not exist" in said
