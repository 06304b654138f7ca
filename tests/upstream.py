"""A registry to pull from: it keeps images in memory, asks for credentials, fails and waits when told to."""

from __future__ import annotations

import base64
import gzip
import hashlib
import http.server
import json
import re
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"

USERNAME, PASSWORD = "puller", "s3cret:with=signs"
BASIC = "Basic " + base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()

_MANIFEST = re.compile(r"/v2/(?P<name>.+)/manifests/(?P<reference>[^/]+)")
_BLOB = re.compile(r"/v2/(?P<name>.+)/blobs/(?P<digest>[^/]+)")
_REFERRERS = re.compile(r"/v2/(?P<name>.+)/referrers/(?P<digest>[^/]+)")


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _descriptor(content: bytes, media_type: str, **members: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": sha256(content), "size": len(content), **members}


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_args: Any) -> None:
        """A client that went away is none of the stub's worries."""


class StubUpstream:
    """The registry, from ``start`` to ``stop``. ``reset`` gives an empty, open, healthy one."""

    def __init__(self) -> None:
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.reset()

    def start(self) -> StubUpstream:
        self._thread.start()
        return self

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def reset(self) -> None:
        self.auth = "none"  # none, basic or bearer
        self.anonymous = False  # whether the token server has tokens for those without credentials
        self.fail_with: int | None = None
        self.redirect_blobs = False
        self.names_digests = True
        self.lists_referrers = True
        self.lost: set[str] = set()  # digests of manifests that are listed and can't be had
        self.referrers_in_page = 1000
        self.link_to = ""  # where the next page is said to be
        self.gate = threading.Event()
        self.gate.set()
        self.manifests: dict[tuple[str, str], tuple[str, bytes]] = {}
        self.blobs: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        self.tokens: set[str] = set()
        self.seen_elsewhere: list[str | None] = []

    def asked(self, method: str, part: str = "") -> int:
        """How many requests of a method had this in their path."""
        return sum(used == method and part in path for used, path in self.requests)

    def add_image(self, name: str, tag: str | None, seed: str = "seed", **members: Any) -> str:
        """Add an image of two blobs, different for each seed, and return its digest."""
        config, layer = f"config {seed}".encode(), f"layer {seed}".encode() * 1000
        self.blobs |= {sha256(config): config, sha256(layer): layer}
        content = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": _descriptor(config, "application/vnd.oci.image.config.v1+json"),
            "layers": [_descriptor(layer, "application/vnd.oci.image.layer.v1.tar+gzip")],
            **members,
        }
        return self.add_manifest(name, tag, OCI_MANIFEST, json.dumps(content).encode())

    def add_artifact(self, name: str, subject: str, seed: str, **members: Any) -> str:
        """Add an image without a tag, whose subject is another one."""
        named = _descriptor(self.manifests[name, subject][1], OCI_MANIFEST)
        return self.add_image(name, None, seed, subject=named, **members)

    def add_index(self, name: str, tag: str, *digests: str) -> str:
        """Add an index of images that are there."""
        content = {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [_descriptor(self.manifests[name, digest][1], OCI_MANIFEST) for digest in digests],
        }
        return self.add_manifest(name, tag, OCI_INDEX, json.dumps(content).encode())

    def tag_referrers(self, name: str, subject: str, *digests: str) -> None:
        """List artifacts under the tag that clients use where a registry has no referrers API."""
        algorithm, _, encoded = subject.partition(":")
        self.add_index(name, f"{algorithm}-{encoded[:64]}", *digests)

    def add_manifest(self, name: str, tag: str | None, media_type: str, content: bytes) -> str:
        digest = sha256(content)
        for reference in (digest, *([tag] if tag else [])):
            self.manifests[name, reference] = (media_type, content)
        return digest

    def layers_of(self, name: str, reference: str) -> list[str]:
        """The digests of an image's config and layers."""
        content = json.loads(self.manifests[name, reference][1])
        return [content["config"]["digest"], *(layer["digest"] for layer in content["layers"])]

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        stub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_args: Any) -> None:
                pass

            def do_GET(self) -> None:
                stub._answer(self)

            do_HEAD = do_GET  # noqa: N815 - http.server's name

        return Handler

    def _answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        status, headers, body = self._respond(request)
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            # As servers before registries do, for clients that can unpack it.
            body, headers = gzip.compress(body), {**headers, "Content-Encoding": "gzip"}
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(body)

    def _respond(self, request: http.server.BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        path, authorization = urlsplit(request.path).path, request.headers["Authorization"]
        if path.startswith("/elsewhere/"):
            self.seen_elsewhere.append(authorization)
            return 200, {}, self.blobs[path.removeprefix("/elsewhere/")]
        if path == "/token":
            return self._issue(parse_qs(urlsplit(request.path).query), authorization)
        if challenge := self._challenge(path, authorization):
            return 401, {"WWW-Authenticate": challenge}, b""
        self.requests.append((request.command, path))
        self.gate.wait(30)
        if self.fail_with is not None:
            return self.fail_with, {}, b""
        if path == "/v2/":
            return 200, {}, b"{}"
        match = _MANIFEST.fullmatch(path)
        if match and match[2] not in self.lost and (found := self.manifests.get((match[1], match[2]))):
            named = {"Docker-Content-Digest": sha256(found[1])} if self.names_digests else {}
            return 200, {"Content-Type": found[0], **named}, found[1]
        if (match := _REFERRERS.fullmatch(path)) and self.lists_referrers:
            return self._list_referrers(request, match["name"], match["digest"])
        if (match := _BLOB.fullmatch(path)) and match["digest"] in self.blobs:
            if self.redirect_blobs:
                # Another name of the same machine is another host.
                return 307, {"Location": f"http://localhost:{self.port}/elsewhere/{match['digest']}"}, b""
            return 200, {}, self.blobs[match["digest"]]
        return 404, {}, b""

    def _list_referrers(
        self, request: http.server.BaseHTTPRequestHandler, name: str, subject: str
    ) -> tuple[int, dict[str, str], bytes]:
        url = urlsplit(request.path)
        start = int(parse_qs(url.query).get("last", ["0"])[0])
        end = start + self.referrers_in_page
        found = [
            _descriptor(content, media_type) | {"digest": reference}
            for (repository, reference), (media_type, content) in self.manifests.items()
            if repository == name
            and ":" in reference
            and json.loads(content).get("subject", {}).get("digest") == subject
        ]
        headers = {"Content-Type": OCI_INDEX}
        if end < len(found) or self.link_to:
            headers["Link"] = f'<{self.link_to or url.path}?last={end}>; rel="next"'
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": found[start:end]}
        return 200, headers, json.dumps(index).encode()

    def _challenge(self, path: str, authorization: str | None) -> str | None:
        if self.auth == "basic":
            return None if authorization == BASIC else 'Basic realm="stub"'
        if self.auth == "bearer":
            match = _MANIFEST.fullmatch(path) or _BLOB.fullmatch(path) or _REFERRERS.fullmatch(path)
            scope = f"repository:{match['name']}:pull" if match else ""
            if authorization == f"Bearer token-for-{scope}" and scope in self.tokens:
                return None
            named = f',scope="{scope}"' if scope else ""
            return f'Bearer realm="{self.url}/token",service="stub, the registry"{named}'
        return None

    def _issue(
        self, query: dict[str, list[str]], authorization: str | None
    ) -> tuple[int, dict[str, str], bytes]:
        if query.get("service") != ["stub, the registry"]:
            return 400, {}, b""
        if authorization != BASIC and not (authorization is None and self.anonymous):
            return 401, {}, b""
        scope = query.get("scope", [""])[0]
        self.tokens.add(scope)
        return 200, {}, json.dumps({"token": f"token-for-{scope}", "expires_in": 300}).encode()


def running() -> Iterator[StubUpstream]:
    """For a fixture: a stub that is stopped at the end."""
    stub = StubUpstream().start()
    try:
        yield stub
    finally:
        stub.gate.set()
        stub.stop()
