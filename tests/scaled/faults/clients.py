"""Clients that go on when a request fails, as real ones do, and count what they had to mend."""

from __future__ import annotations

import http.client
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.contract.conftest import OCI_MANIFEST, image_manifest, sha256
from tests.contract.oci_client import Answer, Body, OciClient, PushedImage, chunk_range

# Attempts at a request, at going on with an upload, and at an upload or an image as a whole.
ATTEMPTS = 12
STEPS = 40
FRESH_STARTS = 10
# Seconds before a request is sent again, by the number of attempts before.
PAUSE = 0.05
# One layer of so many is large enough for parts of its own in S3.
LARGE = 20
LARGE_SIZE = 6 << 20


class NotMendedError(Exception):
    """A client gave up."""


class UploadLostError(Exception):
    """An upload can't be gone on with; its client begins another."""


@dataclass
class Client:
    """Sends each request over a connection of its own, and again where that may help."""

    address: str
    rng: random.Random
    # Of uploads that broke off, the share that is gone on with; the others are begun anew.
    persistence: float = 1.0
    headers: dict[str, str] = field(default_factory=dict)
    mended: Counter[str] = field(default_factory=Counter)

    def once(
        self, method: str, path: str, body: Body = None, headers: dict[str, str] | None = None
    ) -> Answer | None:
        """Send a request; None where no answer came."""
        try:
            return OciClient(self.address, **self.headers).request(method, path, body, headers)
        except (OSError, http.client.HTTPException):
            return None

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """Send a request that does no harm when it is sent again, until it is answered."""
        answer = None
        for attempt in range(ATTEMPTS):
            answer = self.once(method, path, body, headers)
            if answer is not None and answer.status < 500:
                return answer
            self.mended["cut off" if answer is None else str(answer.status)] += 1
            time.sleep(PAUSE * attempt)
        raise NotMendedError(f"{method} {path}: {answer}")

    def push_blob(self, repository: str, content: bytes) -> None:
        digest = sha256(content)
        for _ in range(FRESH_STARTS):
            if self.request("HEAD", f"/v2/{repository}/blobs/{digest}").status == 200:
                return None
            try:
                return self._upload(repository, digest, content)
            except UploadLostError:
                self.mended["begun anew"] += 1
        raise NotMendedError(f"the upload of {digest}")

    def _upload(self, repository: str, digest: str, content: bytes) -> None:
        if self.rng.random() < 0.2:
            answer = self.request("POST", f"/v2/{repository}/blobs/uploads/?digest={digest}", content)
            if answer.status == 404:
                raise UploadLostError
            assert answer.status == 201, answer
            return
        begun = self.request("POST", f"/v2/{repository}/blobs/uploads/")
        assert begun.status == 202, begun
        location = begun.headers["Location"]
        step = max(2, len(content) // self.rng.randint(1, 4) + 1)
        offset = 0
        for _ in range(STEPS):
            answer = self._send_part(location, digest, content, offset, step)
            if answer is not None and answer.status == 201:
                return
            if answer is not None and answer.status == 202:
                offset = min(offset + step, len(content))
                continue
            self.mended["part cut off" if answer is None else f"part {answer.status}"] += 1
            # What can't be mended is no fault of a server that went.
            assert answer is None or answer.status in (404, 416) or answer.status >= 500, answer
            progress = self.request("GET", location)
            if progress.status == 404:
                # It was completed, and only the answer was lost; or it is gone.
                if self.request("HEAD", f"/v2/{repository}/blobs/{digest}").status == 200:
                    return
                raise UploadLostError
            if self.rng.random() > self.persistence:
                raise UploadLostError
            last = int(progress.headers["Range"].removeprefix("0-"))
            offset = last + 1 if last else 0
            time.sleep(PAUSE)
        raise NotMendedError(f"{location}: {answer}")

    def _send_part(self, location: str, digest: str, content: bytes, offset: int, step: int) -> Answer | None:
        part = content[offset : offset + step]
        headers = chunk_range(offset, part) if part else {}
        body: Body = iter([part[: len(part) // 2], part[len(part) // 2 :]]) if len(part) % 2 else part
        if offset + step < len(content):
            return self.once("PATCH", location, body, headers)
        return self.once("PUT", f"{location}?digest={digest}", body, headers)

    def push_image(self, repository: str, tag: str, blobs: tuple[bytes, ...]) -> PushedImage:
        image = PushedImage(image_manifest(*blobs), blobs)
        path, headers = f"/v2/{repository}/manifests/{tag}", {"Content-Type": OCI_MANIFEST}
        for _ in range(FRESH_STARTS):
            for content in blobs:
                self.push_blob(repository, content)
            answer = self.request("PUT", path, image.manifest, headers)
            if answer.status == 201:
                return image
            # What nobody has used for a day by the server's clock has been collected.
            assert answer.error == (404, "MANIFEST_BLOB_UNKNOWN"), answer
            self.mended["collected"] += 1
        raise NotMendedError(path)

    def pull(self, repository: str, tag: str, image: PushedImage) -> None:
        """Pull an image, and compare it."""
        answer = self.request("GET", f"/v2/{repository}/manifests/{tag}")
        assert (answer.status, answer.body) == (200, image.manifest), tag
        for content in image.blobs:
            answer = self.request("GET", f"/v2/{repository}/blobs/{sha256(content)}")
            assert (answer.status, answer.body) == (200, content), tag


class Pusher(threading.Thread):
    """Pushes images with layers that nobody else has, and pulls what it pushed, until it is stopped."""

    def __init__(self, client: Client, repository: str, name: str) -> None:
        super().__init__()
        self.client = client
        self.repository = repository
        self.acknowledged: dict[str, PushedImage] = {}
        self.failure: BaseException | None = None
        self._name = name
        self._is_to_stop = threading.Event()

    def run(self) -> None:
        try:
            for number in range(1_000_000):
                tag = f"{self._name}-{number}"
                image = self.client.push_image(self.repository, tag, tuple(self.blobs(tag)))
                self.pushed(tag, image)
                if self.acknowledged:
                    some = self.client.rng.choice(list(self.acknowledged))
                    self.client.pull(self.repository, some, self.acknowledged[some])
                if self._is_to_stop.is_set():
                    return
        except BaseException as error:
            self.failure = error

    def pushed(self, tag: str, image: PushedImage) -> None:
        self.acknowledged[tag] = image

    def blobs(self, tag: str) -> Iterator[bytes]:
        rng = self.client.rng
        yield f"config of {tag}".encode()
        yield rng.randbytes(rng.randint(1000, 200_000))
        if not rng.randrange(LARGE):
            yield rng.randbytes(LARGE_SIZE)

    def stop(self) -> None:
        self._is_to_stop.set()


def acknowledged_by(pushers: list[Pusher]) -> dict[str, PushedImage]:
    """End pushers, raise what they failed of, and return what they pushed."""
    for pusher in pushers:
        pusher.stop()
    for pusher in pushers:
        pusher.join()
    for pusher in pushers:
        if pusher.failure is not None:
            raise pusher.failure
    return {tag: image for pusher in pushers for tag, image in pusher.acknowledged.items()}


def mended_by(pushers: list[Pusher]) -> Counter[str]:
    return sum((pusher.client.mended for pusher in pushers), Counter())
