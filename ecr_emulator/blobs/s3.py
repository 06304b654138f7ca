"""Blobs as objects of S3, or of a service that speaks its API.

``PREFIX/blobs/sha256/ab/abcd….0123`` is a blob. ``PREFIX/uploads/ID/`` has the pieces of an upload, one
object for each append, and for as long as a request holds it an object that keeps others out. Servers meet
in the bucket alone: whatever one of them has in memory, another can read back.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import io
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

import aiohttp
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError, ClientError

from ecr_emulator.blobs import pieces
from ecr_emulator.blobs.base import (
    PATIENCE,
    BlobStoreUnavailableError,
    BlobStream,
    DigestMismatchError,
    Published,
    UploadBusyError,
    UploadMissingError,
)
from ecr_emulator.blobs.pieces import Piece, Slice

# Bytes of a part that is sent, at least, and parts that are on their way at a time, of all requests.
PART_SIZE = 8 * 1024 * 1024
PARTS_AT_ONCE = 8
# Bytes handed on at a time from an object that is read.
READ_SIZE = 1 << 20
# Attempts in a row to go on with an object that breaks off, and half the seconds before the first; there are
# twice as many before each other.
READ_ATTEMPTS = 4
READ_PAUSE = 0.1
# Attempts at a request, seconds to connect in each, and seconds without an answer.
ATTEMPTS = 3
CONNECT_TIMEOUT = 5.0
ANSWER_TIMEOUT = 30.0
CONNECTIONS = 64
# Uploads whose hash state is kept between two requests; any other is hashed anew from its pieces.
KEPT_HASHERS = 256
# Seconds for which an upload is held, if the server does not renew that, as one that was killed does not;
# seconds between two attempts to hold it; seconds that clearing up after a failure may take.
LEASE = 30.0
BUSY_POLL = 0.2
CLEAN_UP_TIMEOUT = 5.0
# Seconds for which the URL of a blob is valid, as ECR's are.
URL_LIFETIME = 3600
# Seconds after which a blob that is not all put together is taken for one that a killed server left.
UNFINISHED_AGE = 24 * 3600.0
# Keys that S3 removes at a time.
REMOVE_SIZE = 1000

_MISSING = {"404", "NotFound", "NoSuchKey", "NoSuchUpload"}
_CONFLICT = {"412", "PreconditionFailed", "409", "ConditionalRequestConflict"}
_FAILURES = (ClientError, BotoCoreError, aiohttp.ClientError, OSError)
_LEASE_KEY = "lease"


class S3SetupError(Exception):
    """The bucket can't be used as it is; the message tells a person why."""


class _MissingError(BlobStoreUnavailableError):
    """What a request to S3 is about is not there."""


class _ConflictError(BlobStoreUnavailableError):
    """The condition of a request to S3 does not hold."""


@dataclass(frozen=True, slots=True)
class S3Location:
    """Where blobs are: ``s3://BUCKET/PREFIX?endpoint=URL&region=REGION&redirect=on|off``.

    ``prefix`` is empty or ends with a slash. With ``redirect`` clients get blobs from S3 themselves.
    """

    bucket: str
    prefix: str
    endpoint: str | None
    region: str | None
    redirect: bool

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the location that a text names. Raises S3SetupError for one that is none."""
        url = urlsplit(text)
        options = dict(parse_qsl(url.query, keep_blank_values=True))
        if url.scheme != "s3" or not url.netloc or url.fragment:
            raise S3SetupError(f"it must have the form s3://BUCKET/PREFIX, not {text!r}")
        if unknown := sorted(options.keys() - {"endpoint", "region", "redirect"}):
            raise S3SetupError(f"it has options that there are not: {', '.join(unknown)}")
        if options.get("redirect", "on") not in ("on", "off"):
            raise S3SetupError(f"redirect must be on or off, not {options['redirect']!r}")
        prefix = url.path.strip("/")
        return cls(
            bucket=url.netloc,
            prefix=f"{prefix}/" if prefix else "",
            endpoint=options.get("endpoint"),
            region=options.get("region"),
            redirect=options.get("redirect", "on") == "on",
        )


@dataclass(frozen=True, slots=True)
class _Hashed:
    """A running SHA-256 of slices (hashlib's state can't be stored)."""

    slices: list[Slice]
    sha256: Any

    @classmethod
    def nothing(cls) -> Self:
        return cls([], hashlib.sha256())


@dataclass(frozen=True, slots=True)
class _Listed:
    """An object as a listing shows it: ``age`` in seconds, by the clock of S3.

    One of which only parts are there has a ``multipart_id``.
    """

    key: str
    size: int
    age: float
    multipart_id: str = ""


class S3Blobs:
    """A BlobStore in a bucket, to be had by ``connect``."""

    def __init__(self, location: S3Location, client: Any, connections: contextlib.AsyncExitStack) -> None:
        self._bucket = location.bucket
        self._root = location.prefix
        self._blobs = f"{location.prefix}blobs/"
        self._uploads = f"{location.prefix}uploads/"
        self._redirect = location.redirect
        self._client = client
        self._connections = connections
        self._hashed: OrderedDict[str, _Hashed] = OrderedDict()
        # Of which each part that is on its way takes one.
        self.slots = asyncio.Semaphore(PARTS_AT_ONCE)

    @classmethod
    async def connect(cls, location: S3Location, *, answer_timeout: float = ANSWER_TIMEOUT) -> Self:
        """Open the store, with credentials from where all AWS SDKs find them.

        ``answer_timeout`` is in seconds, for each attempt at a request. Raises S3SetupError for a bucket
        that can't be written to, on conditions: by these servers keep out of each other's way.
        """
        config = AioConfig(
            connect_timeout=CONNECT_TIMEOUT,
            read_timeout=answer_timeout,
            max_pool_connections=CONNECTIONS,
            retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
            signature_version="s3v4",
            s3={
                "addressing_style": "path" if location.endpoint else "auto",
                # Parts come with a checksum, which is signed: they need not be hashed for a third time.
                "payload_signing_enabled": False,
            },
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        async with contextlib.AsyncExitStack() as connections:
            try:
                client = await connections.enter_async_context(
                    get_session().create_client(
                        "s3", endpoint_url=location.endpoint, region_name=location.region, config=config
                    )
                )
                store = cls(location, client, connections)
                await store._check()
            except (BotoCoreError, ValueError, BlobStoreUnavailableError) as error:
                raise S3SetupError(str(error)) from error
            store._connections = connections.pop_all()
            return store
        raise AssertionError  # The stack suppresses nothing.

    async def _check(self) -> None:
        key = f"{self._root}check-{secrets.token_hex(8)}"
        await self.call("put_object", Key=key, Body=b"", IfNoneMatch="*")
        try:
            with contextlib.suppress(_ConflictError):
                await self.call("put_object", Key=key, Body=b"", IfNoneMatch="*")
                raise S3SetupError("the service ignores the conditions of writes (If-None-Match)")
        finally:
            await self.delete([key])

    async def close(self) -> None:
        """Let go of the connections."""
        await self._connections.aclose()

    # ------------------------------------------------------------------------------------------ blobs

    async def open(self, name: str) -> BlobStream | None:
        """Return what a blob can be read from, or None where it is not there."""
        key = self._blobs + name
        size = await self.size(key)
        if size is None:
            return None
        return BlobStream(size, partial(self.read, key), partial(self._url, key) if self._redirect else None)

    async def _url(self, key: str) -> str:
        with _failures():
            url: str = await self._client.generate_presigned_url(
                "get_object", Params={"Bucket": self._bucket, "Key": key}, ExpiresIn=URL_LIFETIME
            )
        return url

    async def names(self, idle: float = 0.0) -> AsyncIterator[list[str]]:
        """Give the names of the blobs, in batches; then those of which a killed server left parts."""
        async for listed in self._list(self._blobs):
            if names := [each.key.removeprefix(self._blobs) for each in listed if each.age >= idle]:
                yield names
        async for listed in self._list_unfinished(self._blobs):
            if names := [each.key.removeprefix(self._blobs) for each in listed if each.age >= UNFINISHED_AGE]:
                yield names

    async def remove(self, name: str) -> int | None:
        """Remove a blob, and return its size in bytes, or None where it is not there."""
        key = self._blobs + name
        size = await self.size(key)
        if size is None:
            await self._abort_unfinished(key)
        else:
            await self.delete([key])
        return size

    async def size(self, key: str) -> int | None:
        """Return the size of an object in bytes, or None where it is not there."""
        try:
            size: int = (await self.call("head_object", Key=key))["ContentLength"]
        except _MissingError:
            return None
        return size

    # ---------------------------------------------------------------------------------------- uploads

    @contextlib.asynccontextmanager
    async def upload(self, upload_id: str, *, patience: float = PATIENCE) -> AsyncIterator[S3Upload]:
        """Hold an upload, new or begun, for one request."""
        folder = self._folder(upload_id)
        async with _Lease(self, folder + _LEASE_KEY).held(patience) as lease:
            upload = S3Upload(self, folder, lease, self._hashed.get(upload_id, _Hashed.nothing()))
            try:
                yield upload
            except Exception:
                await upload.undo()
                raise
            self._hashed[upload_id] = upload.hashed
            self._hashed.move_to_end(upload_id)
            while len(self._hashed) > KEPT_HASHERS:
                self._hashed.popitem(last=False)

    def _folder(self, upload_id: str) -> str:
        return f"{self._uploads}{upload_id}/"

    async def discard(self, upload_id: str) -> None:
        """Remove an upload's bytes, if there are any."""
        self._hashed.pop(upload_id, None)
        folder = self._folder(upload_id)
        await self._abort_unfinished(folder)
        async for listed in self._list(folder):
            await self.delete([each.key for each in listed])

    async def upload_ids(self, idle: float = 0.0) -> list[str]:
        """Return the ids of the uploads of which there are bytes, none written within ``idle`` seconds."""
        ages: dict[str, float] = {}
        for listing in (self._list(self._uploads), self._list_unfinished(self._uploads)):
            async for listed in listing:
                for each in listed:
                    upload_id = each.key.removeprefix(self._uploads).partition("/")[0]
                    ages[upload_id] = min(each.age, ages.get(upload_id, each.age))
        return [upload_id for upload_id, age in ages.items() if age >= idle]

    async def pieces(self, folder: str) -> list[Piece]:
        """Return the pieces of an upload."""
        return [
            Piece(each.key, int(each.key.removeprefix(folder).partition("-")[0]), each.size)
            async for listed in self._list(folder)
            for each in listed
            if each.key != folder + _LEASE_KEY
        ]

    # ---------------------------------------------------------------------------------------- objects

    async def call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """Perform an operation of S3 on the bucket.

        Raises _MissingError, _ConflictError, and for any other failure BlobStoreUnavailableError.
        """
        with _failures():
            answer: dict[str, Any] = await getattr(self._client, operation)(Bucket=self._bucket, **arguments)
        return answer

    async def read(self, key: str, start: int, stop: int) -> AsyncIterator[bytes]:
        """Give an object's bytes from one position up to another; where S3 breaks off, go on from there."""
        failures = 0
        while start < stop:
            try:
                answer = await self.call("get_object", Key=key, Range=f"bytes={start}-{stop - 1}")
                async with answer["Body"] as body:
                    while chunk := await _read(body):
                        failures, start = 0, start + len(chunk)
                        yield chunk
            except _MissingError:
                raise
            except BlobStoreUnavailableError:
                failures += 1
                if failures == READ_ATTEMPTS:
                    raise
                await asyncio.sleep(READ_PAUSE * 2**failures)

    async def read_slices(self, slices: Iterable[Slice]) -> AsyncIterator[bytes]:
        """Give the bytes of slices. Raises UploadMissingError where a piece is not there any more."""
        try:
            for each in slices:
                async for chunk in self.read(each.piece.key, each.start, each.stop):
                    yield chunk
        except _MissingError:
            raise UploadMissingError from None

    async def write(self, key: str, buffers: AsyncIterator[bytes]) -> int:
        """Write an object, at once or part by part, which is there when all of it is; return its size.

        Without any bytes there is no object.
        """
        first, second = await anext(buffers, b""), await anext(buffers, b"")
        if not second:
            if first:
                checksum = await asyncio.to_thread(_checksum, first)
                await self.call("put_object", Key=key, Body=io.BytesIO(first), ChecksumSHA256=checksum)
            return len(first)
        size = len(first) + len(second)
        async with self._parts_of(key) as parts:
            await parts.send(first)
            await parts.send(second)
            del first, second
            async for buffer in buffers:
                size += len(buffer)
                await parts.send(buffer)
            await parts.complete(size)
        return size

    async def publish(self, name: str, slices: Sequence[Slice]) -> None:
        """Make a blob of slices, within S3 where they are large enough.

        Raises UploadMissingError where a piece is not there any more.
        """
        key = self._blobs + name
        size = sum(each.size for each in slices)
        divided = pieces.parts(slices)
        try:
            if len(divided) > 1:
                async with self._parts_of(key) as parts:
                    for part in divided:
                        await parts.join(part)
                    await parts.complete(size)
            elif len(slices) == 1 and slices[0].is_whole:
                await self.call("copy_object", Key=key, CopySource=self.copy_source(slices[0]))
            else:
                content = b"".join([chunk async for chunk in self.read_slices(slices)])
                await self.call(
                    "put_object", Key=key, Body=io.BytesIO(content), ChecksumSHA256=_checksum(content)
                )
        except _MissingError:
            raise UploadMissingError from None

    def copy_source(self, of: Slice) -> dict[str, str]:
        """Return how S3 is told from what to copy."""
        return {"Bucket": self._bucket, "Key": of.piece.key}

    @contextlib.asynccontextmanager
    async def _parts_of(self, key: str) -> AsyncIterator[_Parts]:
        """Begin an object of parts, which are removed where the block raises."""
        created = await self.call("create_multipart_upload", Key=key, ChecksumAlgorithm="SHA256")
        parts = _Parts(self, key, created["UploadId"])
        try:
            yield parts
        except BaseException:
            await parts.cancel()
            await clean_up(self.call("abort_multipart_upload", Key=key, UploadId=created["UploadId"]))
            raise

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove objects, those of them that there are."""
        for start in range(0, len(keys), REMOVE_SIZE):
            some = [{"Key": key} for key in keys[start : start + REMOVE_SIZE]]
            answer = await self.call("delete_objects", Delete={"Objects": some, "Quiet": True})
            if failed := answer.get("Errors"):
                raise BlobStoreUnavailableError(f"S3 does not remove an object: {failed[0].get('Code')}")

    async def _list(self, prefix: str) -> AsyncIterator[list[_Listed]]:
        """Give the objects below a prefix, in batches."""
        position: dict[str, str] = {}
        while True:
            answer = await self.call("list_objects_v2", Prefix=prefix, **position)
            now = _now(answer)
            yield [
                _Listed(each["Key"], each["Size"], _seconds(each["LastModified"], now))
                for each in answer.get("Contents", [])
            ]
            if not answer.get("IsTruncated"):
                return
            position = {"ContinuationToken": answer["NextContinuationToken"]}

    async def _list_unfinished(self, prefix: str) -> AsyncIterator[list[_Listed]]:
        """Give the objects below a prefix of which only parts are there, in batches."""
        position: dict[str, str] = {}
        while True:
            answer = await self.call("list_multipart_uploads", Prefix=prefix, **position)
            now = _now(answer)
            yield [
                _Listed(each["Key"], 0, _seconds(each["Initiated"], now), each["UploadId"])
                for each in answer.get("Uploads", [])
            ]
            if not answer.get("IsTruncated"):
                return
            position = {
                "KeyMarker": answer["NextKeyMarker"],
                "UploadIdMarker": answer.get("NextUploadIdMarker", ""),
            }

    async def _abort_unfinished(self, prefix: str) -> None:
        async for listed in self._list_unfinished(prefix):
            for each in listed:
                with contextlib.suppress(_MissingError):
                    await self.call("abort_multipart_upload", Key=each.key, UploadId=each.multipart_id)


class S3Upload:
    """An UploadWriter over the objects of an upload, which has to be held."""

    def __init__(self, store: S3Blobs, folder: str, lease: _Lease, hashed: _Hashed) -> None:
        self._store = store
        self._folder = folder
        self._lease = lease
        self.hashed = hashed
        self._written: list[str] = []

    async def append(self, offset: int, chunks: AsyncIterable[bytes]) -> int:
        """Write from ``offset`` on and return the upload's new size."""
        listed = await self._store.pieces(self._folder)
        await self._store.delete([piece.key for piece in listed if piece.offset >= offset])
        before = await self._hash([piece for piece in listed if piece.offset < offset], offset)
        sha256 = before.sha256.copy()
        key = f"{self._folder}{offset:012}-{secrets.token_hex(8)}"
        self._written.append(key)
        try:
            size = await self._store.write(key, _hashing(sha256, _buffers(chunks)))
        except _MissingError:
            raise UploadMissingError from None
        # Whoever holds it now may have gone on from the same byte.
        self._lease.check()
        if size > 0:
            self.hashed = _Hashed([*before.slices, Slice(Piece(key, offset, size), 0, size)], sha256)
        return offset + size

    async def undo(self) -> None:
        """Drop what was appended."""
        if self._written:
            await clean_up(self._store.delete(self._written))

    async def publish(self, size: int, digests: Sequence[str]) -> Published:
        """Make the upload's first ``size`` bytes a blob, durably, under a new name."""
        self.hashed = await self._hash(await self._store.pieces(self._folder), size)
        for digest in digests:
            algorithm, _, encoded = digest.partition(":")
            if algorithm == "sha256":
                actual = self.hashed.sha256.hexdigest()
            else:
                actual = (await self._read(algorithm, self.hashed.slices)).hexdigest()
            if actual == encoded:
                name = f"{algorithm}/{encoded[:2]}/{encoded}.{secrets.token_hex(8)}"
                await self._store.publish(name, self.hashed.slices)
                return Published(digest, name)
        raise DigestMismatchError(f"{algorithm}:{actual}")

    async def _hash(self, listed: Iterable[Piece], size: int) -> _Hashed:
        """Return the hash of the first ``size`` bytes of pieces, of these and no others.

        So what is put together is what was hashed, whoever else wrote to the upload.
        """
        slices = pieces.first_bytes(listed, size)
        if slices != self.hashed.slices:
            return _Hashed(slices, await self._read("sha256", slices))
        return self.hashed

    async def _read(self, algorithm: str, slices: Sequence[Slice]) -> Any:
        hasher = hashlib.new(algorithm)
        async for buffer in _buffers(self._store.read_slices(slices)):
            await asyncio.to_thread(hasher.update, buffer)
        return hasher


class _Parts:
    """The parts of an object under way, of which a few are sent or copied at a time."""

    def __init__(self, store: S3Blobs, key: str, multipart_id: str) -> None:
        self._store = store
        self._key = key
        self._id = multipart_id
        self._tasks: list[asyncio.Task[dict[str, Any]]] = []

    async def send(self, content: bytes) -> None:
        """Send a part while the next one comes in."""
        await self._begin(partial(self._send, content))

    async def join(self, slices: Sequence[Slice]) -> None:
        """Make a part of slices: within S3, or where they are too small for that by reading them."""
        await self._begin(partial(self._join, slices))

    async def _begin(self, make: Callable[[int], Coroutine[Any, Any, dict[str, Any]]]) -> None:
        await self._store.slots.acquire()
        try:
            for task in self._tasks:
                if task.done():
                    task.result()
        except BaseException:
            self._store.slots.release()
            raise
        number = len(self._tasks) + 1
        task = asyncio.create_task(make(number))
        task.add_done_callback(lambda _: self._store.slots.release())
        self._tasks.append(task)

    async def _send(self, content: bytes, number: int) -> dict[str, Any]:
        checksum = await asyncio.to_thread(_checksum, content)
        answer = await self._store.call(
            "upload_part",
            Key=self._key,
            UploadId=self._id,
            PartNumber=number,
            Body=io.BytesIO(content),
            ChecksumSHA256=checksum,
        )
        return {"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": checksum}

    async def _join(self, slices: Sequence[Slice], number: int) -> dict[str, Any]:
        only = slices[0]
        if only.size < pieces.MIN_PART:
            return await self._send(
                b"".join([chunk async for chunk in self._store.read_slices(slices)]), number
            )
        span = {} if only.is_whole else {"CopySourceRange": f"bytes={only.start}-{only.stop - 1}"}
        answer = await self._store.call(
            "upload_part_copy",
            Key=self._key,
            UploadId=self._id,
            PartNumber=number,
            CopySource=self._store.copy_source(only),
            **span,
        )
        copied = answer["CopyPartResult"]
        kept = {name: copied[name] for name in ("ETag", "ChecksumSHA256") if name in copied}
        return {"PartNumber": number, **kept}

    async def complete(self, size: int) -> None:
        """Make the object of the parts, once all are there."""
        parts = await asyncio.gather(*self._tasks)
        try:
            await self._store.call(
                "complete_multipart_upload",
                Key=self._key,
                UploadId=self._id,
                MultipartUpload={"Parts": parts},
                MpuObjectSize=size,
            )
        except _MissingError:
            # It was, where only the answer to an earlier attempt was lost: nobody else has this key.
            if await self._store.size(self._key) != size:
                raise

    async def cancel(self) -> None:
        """Stop what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class _Holder:
    """Who holds a lease, and how many seconds ago that was renewed."""

    token: str
    etag: str
    age: float


class _Lease:
    """An object that keeps other requests out, of this and of other servers, for as long as it is renewed.

    Its age is told by the clock of S3, of which there is one. A server that sleeps for too long loses it and
    is told by ``check``. That nobody's bytes get into a blob of others does not depend on it.
    """

    def __init__(self, store: S3Blobs, key: str) -> None:
        self._store = store
        self._key = key
        self._token = secrets.token_hex(16)
        self._attempts = 0
        self._etag = ""
        self._valid_until = 0.0

    @contextlib.asynccontextmanager
    async def held(self, patience: float) -> AsyncIterator[Self]:
        """Hold the lease for the block. Raises UploadBusyError after ``patience`` seconds."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience
        while not await self._claim():
            if loop.time() > deadline:
                raise UploadBusyError
            await asyncio.sleep(BUSY_POLL)
        renewing = asyncio.create_task(self._renew())
        try:
            yield self
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)
            if self._is_valid():
                await clean_up(self._store.delete([self._key]))

    def check(self) -> None:
        """Raise UploadBusyError where the lease has run out, and somebody else may have it."""
        if not self._is_valid():
            raise UploadBusyError

    def _is_valid(self) -> bool:
        return asyncio.get_running_loop().time() < self._valid_until

    async def _claim(self) -> bool:
        """Take the lease, where nobody has it any more; tell whether this one has it now."""
        if await self._put(IfNoneMatch="*"):
            return True
        holder = await self._holder()
        if holder is None:
            return False
        if self._recognise(holder):
            return True
        # Of two times in whole seconds.
        return holder.age > LEASE + 1 and await self._put(IfMatch=holder.etag)

    async def _put(self, **condition: str) -> bool:
        """Write the object on a condition, each time with other bytes and so with another ETag."""
        self._attempts += 1
        begun_at = asyncio.get_running_loop().time()
        content = f"{self._token} {self._attempts}".encode()
        try:
            answer = await self._store.call("put_object", Key=self._key, Body=content, **condition)
        except (_ConflictError, _MissingError):
            return False
        self._etag, self._valid_until = answer["ETag"], begun_at + LEASE
        return True

    async def _holder(self) -> _Holder | None:
        try:
            found = await self._store.call("get_object", Key=self._key)
            async with found["Body"] as body:
                token = (await _read(body)).decode().partition(" ")[0]
        except _MissingError:
            return None
        return _Holder(token, found["ETag"], _seconds(found["LastModified"], _now(found)))

    def _recognise(self, holder: _Holder) -> bool:
        """Tell whether this one is the holder, as where S3 wrote what it did not answer."""
        if holder.token != self._token:
            return False
        self._etag = holder.etag
        self._valid_until = asyncio.get_running_loop().time() + LEASE - holder.age - 1
        return True

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(LEASE / 3)
            with contextlib.suppress(BlobStoreUnavailableError):
                if not await self._put(IfMatch=self._etag) and (holder := await self._holder()):
                    self._recognise(holder)


async def clean_up(removal: Coroutine[Any, Any, Any]) -> None:
    """Remove what nobody needs any more, if that can be done soon: garbage collection does it otherwise."""

    async def limited() -> None:
        with contextlib.suppress(BlobStoreUnavailableError, TimeoutError):
            async with asyncio.timeout(CLEAN_UP_TIMEOUT):
                await removal

    await asyncio.shield(limited())


@contextlib.contextmanager
def _failures() -> Iterator[None]:
    """Translate what a request to S3 raises."""
    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code"))
        kind = (
            _MissingError
            if code in _MISSING
            else _ConflictError
            if code in _CONFLICT
            else BlobStoreUnavailableError
        )
        raise kind(str(error)) from error
    except _FAILURES as error:
        raise BlobStoreUnavailableError(str(error) or type(error).__name__) from error


async def _read(body: Any) -> bytes:
    with _failures():
        chunk: bytes = await body.read(READ_SIZE)
    return chunk


async def _buffers(chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Join small chunks to buffers of at least PART_SIZE."""
    buffer: list[bytes] = []
    size = 0
    async for chunk in chunks:
        buffer.append(chunk)
        size += len(chunk)
        if size >= PART_SIZE:
            yield b"".join(buffer)
            buffer, size = [], 0
    if size:
        yield b"".join(buffer)


async def _hashing(hasher: Any, buffers: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Hand buffers on, each hashed in a thread while the next comes in."""
    hashing: asyncio.Future[None] | None = None
    async for buffer in buffers:
        if hashing is not None:
            await hashing
        hashing = asyncio.ensure_future(asyncio.to_thread(hasher.update, buffer))
        yield buffer
    if hashing is not None:
        await hashing


def _checksum(content: bytes) -> str:
    return base64.b64encode(hashlib.sha256(content).digest()).decode()


def _now(answer: dict[str, Any]) -> datetime:
    """Return the time at which S3 answered, by its own clock where it tells it."""
    date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    return parsedate_to_datetime(date) if date else datetime.now(UTC)


def _seconds(since: datetime, now: datetime) -> float:
    """Return how long ago something was; at least 0, since only some times have fractions."""
    return max(0.0, (now - since).total_seconds())
