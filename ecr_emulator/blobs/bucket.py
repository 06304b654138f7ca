"""A bucket of S3, or of a service that speaks its API."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import io
import secrets
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterator, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

import aiohttp
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError, ClientError
from msgspec import Struct

from ecr_emulator.blobs.base import BlobSetupError, BlobStoreUnavailableError

# Parts that are on their way at a time, of all requests.
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
# Seconds that clearing up after a failure may take.
CLEAN_UP_TIMEOUT = 5.0
# Seconds for which the URL of an object is valid, as ECR's are.
URL_LIFETIME = 3600
# Keys that S3 removes at a time.
DELETE_SIZE = 1000

# What versitygw answers to a write while the folder that it goes to is removed, as the last object in it was;
# attempts at such a write, and the seconds before each other.
_FOLDER_GONE = "ExistingObjectIsDirectory"
_FOLDER_ATTEMPTS = 10
_FOLDER_PAUSE = 0.02

_MISSING = {"404", "NotFound", "NoSuchKey", "NoSuchUpload"}
_CONFLICT = {"412", "PreconditionFailed", "409", "ConditionalRequestConflict"}


class MissingError(BlobStoreUnavailableError, FileNotFoundError):
    """What a request to S3 is about is not there."""


class ConflictError(BlobStoreUnavailableError):
    """The condition of a request to S3 does not hold."""


class S3Location(Struct, frozen=True):
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
        """Return the location that a text names. Raises BlobSetupError for one that is none."""
        url = urlsplit(text)
        options = dict(parse_qsl(url.query, keep_blank_values=True))
        if url.scheme != "s3" or not url.netloc or url.fragment:
            raise BlobSetupError(f"it must have the form s3://BUCKET/PREFIX, not {text!r}")
        if unknown := sorted(options.keys() - {"endpoint", "region", "redirect"}):
            raise BlobSetupError(f"it has options that there are not: {', '.join(unknown)}")
        if options.get("redirect", "on") not in ("on", "off"):
            raise BlobSetupError(f"redirect must be on or off, not {options['redirect']!r}")
        prefix = url.path.strip("/")
        return cls(
            bucket=url.netloc,
            prefix=f"{prefix}/" if prefix else "",
            endpoint=options.get("endpoint"),
            region=options.get("region"),
            redirect=options.get("redirect", "on") == "on",
        )


class Listed(Struct, frozen=True):
    """An object as a listing shows it: ``age`` in seconds, by the clock of S3.

    One of which only parts are there has a ``multipart_id``.
    """

    key: str
    size: int
    age: float
    multipart_id: str = ""


class Fetched(Struct, frozen=True):
    """A small object: ``age`` in seconds, by the clock of S3."""

    content: bytes
    etag: str
    age: float


class Part(Struct, frozen=True):
    """A part of an object that comes in, which no other follows where it ``is_last``."""

    content: bytes
    is_last: bool


class Bucket:
    """The objects of a bucket, by their keys. All raise BlobStoreUnavailableError where S3 fails."""

    def __init__(self, name: str, client: Any, connections: contextlib.AsyncExitStack) -> None:
        self.name = name
        self._client = client
        self._connections = connections
        # Of which each part that is on its way takes one.
        self.slots = asyncio.Semaphore(PARTS_AT_ONCE)

    @classmethod
    async def connect(cls, location: S3Location) -> Self:
        """Connect to a bucket, with credentials from where all AWS SDKs find them.

        Raises BlobSetupError for one that can't be written to, on conditions: by these servers keep out of
        each other's way.
        """
        config = AioConfig(
            connect_timeout=CONNECT_TIMEOUT,
            read_timeout=ANSWER_TIMEOUT,
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
        context = get_session().create_client(
            "s3", endpoint_url=location.endpoint, region_name=location.region, config=config
        )
        connections = contextlib.AsyncExitStack()
        try:
            client = await connections.enter_async_context(context)
            client.meta.events.register("needs-retry.s3", _await_folder)
            bucket = cls(location.bucket, client, connections)
            await bucket._check(f"{location.prefix}check-{secrets.token_hex(8)}")
        except BaseException as error:
            await connections.aclose()
            if isinstance(error, BotoCoreError | ValueError | BlobStoreUnavailableError):
                raise BlobSetupError(str(error)) from error
            raise
        return bucket

    async def _check(self, key: str) -> None:
        """Make sure that conditions count, by an object that is then removed."""
        # Where it conflicts it does with an attempt of its own, whose answer was lost.
        with contextlib.suppress(ConflictError):
            await self.put(key, b"", IfNoneMatch="*")
        try:
            with contextlib.suppress(ConflictError):
                await self.put(key, b"", IfNoneMatch="*")
                raise BlobSetupError("the service ignores the conditions of writes (If-None-Match)")
        finally:
            await self.delete([key])

    async def close(self) -> None:
        """Let go of the connections."""
        await self._connections.aclose()

    async def call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """Perform an operation of S3 on the bucket.

        Raises MissingError, ConflictError, and for any other failure BlobStoreUnavailableError.
        """
        with _translated():
            answer: dict[str, Any] = await getattr(self._client, operation)(Bucket=self.name, **arguments)
        return answer

    async def size(self, key: str) -> int | None:
        """Return the size of an object in bytes, or None where it is not there."""
        try:
            size: int = (await self.call("head_object", Key=key))["ContentLength"]
        except MissingError:
            return None
        return size

    async def url(self, key: str) -> str:
        """Return where an object can be had without credentials, for URL_LIFETIME seconds."""
        with _translated():
            url: str = await self._client.generate_presigned_url(
                "get_object", Params={"Bucket": self.name, "Key": key}, ExpiresIn=URL_LIFETIME
            )
        return url

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
            except MissingError:
                raise
            except BlobStoreUnavailableError:
                failures += 1
                if failures == READ_ATTEMPTS:
                    raise
                await asyncio.sleep(READ_PAUSE * 2**failures)

    async def put(self, key: str, content: bytes, **condition: str) -> str:
        """Write an object at once, and return its ETag. Raises ConflictError for an unmet condition."""
        checksum = await asyncio.to_thread(_checksum_of, content)
        # Closed, it lets go of the bytes, which the SDK does only when cycles are collected.
        with io.BytesIO(content) as body:
            answer = await self.call("put_object", Key=key, Body=body, ChecksumSHA256=checksum, **condition)
        etag: str = answer["ETag"]
        return etag

    async def get(self, key: str) -> Fetched:
        """Return a small object. Raises MissingError."""
        answer = await self.call("get_object", Key=key)
        async with answer["Body"] as body:
            return Fetched(await _read(body), answer["ETag"], _seconds(answer["LastModified"], _now(answer)))

    async def copy(self, source: str, key: str) -> None:
        """Make an object of another within S3, at once."""
        await self.call("copy_object", Key=key, CopySource={"Bucket": self.name, "Key": source})

    async def write(self, key: str, parts: AsyncIterable[Part]) -> int:
        """Write an object that is there when all of its parts are, and return its size.

        Without any there is no object.
        """
        coming = aiter(parts)
        first = await anext(coming, None)
        if first is None:
            return 0
        if first.is_last:
            await self.put(key, first.content)
            # Whoever hands parts on is to come to its end: it may not be through with what it does with them.
            await anext(coming, None)
            return len(first.content)
        size = len(first.content)
        async with self.multipart(key) as multipart:
            await multipart.send(first.content)
            del first
            async for part in coming:
                size += len(part.content)
                await multipart.send(part.content)
                del part
            await multipart.complete(size)
        return size

    @contextlib.asynccontextmanager
    async def multipart(self, key: str, *, copies: bool = False) -> AsyncIterator[Multipart]:
        """Begin an object of parts, which are removed where the block raises.

        With ``copies`` some of them may be copied; not all services tell the checksums of these.
        """
        algorithm = {} if copies else {"ChecksumAlgorithm": "SHA256"}
        created = await self.call("create_multipart_upload", Key=key, **algorithm)
        multipart = Multipart(self, key, created["UploadId"], copies)
        try:
            yield multipart
        except BaseException:
            await multipart.cancel()
            await clean_up(self.call("abort_multipart_upload", Key=key, UploadId=created["UploadId"]))
            raise

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove objects, those of them that there are."""
        for start in range(0, len(keys), DELETE_SIZE):
            some = [{"Key": key} for key in keys[start : start + DELETE_SIZE]]
            answer = await self.call("delete_objects", Delete={"Objects": some, "Quiet": True})
            if failed := answer.get("Errors"):
                raise BlobStoreUnavailableError(f"S3 does not remove an object: {failed[0].get('Code')}")

    async def objects(self, prefix: str) -> AsyncIterator[list[Listed]]:
        """Give the objects below a prefix, in batches."""
        position: dict[str, str] = {}
        while True:
            answer = await self.call("list_objects_v2", Prefix=prefix, **position)
            now = _now(answer)
            yield [
                Listed(each["Key"], each["Size"], _seconds(each["LastModified"], now))
                for each in answer.get("Contents", [])
            ]
            if not answer.get("IsTruncated"):
                return
            position = {"ContinuationToken": answer["NextContinuationToken"]}

    async def unfinished(self, prefix: str) -> AsyncIterator[list[Listed]]:
        """Give the objects below a prefix of which only parts are there, in batches."""
        position: dict[str, str] = {}
        while True:
            answer = await self.call("list_multipart_uploads", Prefix=prefix, **position)
            now = _now(answer)
            yield [
                Listed(each["Key"], 0, _seconds(each["Initiated"], now), each["UploadId"])
                for each in answer.get("Uploads", [])
            ]
            if not answer.get("IsTruncated"):
                return
            position = {
                "KeyMarker": answer["NextKeyMarker"],
                "UploadIdMarker": answer.get("NextUploadIdMarker", ""),
            }

    async def abort(self, prefix: str) -> None:
        """Remove the parts of the objects below a prefix of which only parts are there."""
        async for listed in self.unfinished(prefix):
            for each in listed:
                with contextlib.suppress(MissingError):
                    await self.call("abort_multipart_upload", Key=each.key, UploadId=each.multipart_id)


class Multipart:
    """An object of parts, of which a few are sent or copied at a time."""

    def __init__(self, bucket: Bucket, key: str, multipart_id: str, copies: bool) -> None:
        self._copies = copies
        self._bucket = bucket
        self._key = key
        self._id = multipart_id
        self._tasks: list[asyncio.Task[dict[str, Any]]] = []

    async def send(self, content: bytes) -> None:
        """Send a part while the next one comes in."""
        await self._begin(partial(self._send, content))

    async def send_all(self, chunks: AsyncIterator[bytes]) -> None:
        """Send a part of bytes that are read when it is its turn, and are few enough for memory."""
        await self._begin(partial(self._send_all, chunks))

    async def copy(self, source: str, span: tuple[int, int] | None) -> None:
        """Make a part of another object within S3: of all of it, or from one position up to another."""
        await self._begin(partial(self._copy, source, span))

    async def _begin(self, make: Callable[[int], Coroutine[Any, Any, dict[str, Any]]]) -> None:
        await self._bucket.slots.acquire()
        try:
            for task in self._tasks:
                if task.done():
                    task.result()
        except BaseException:
            self._bucket.slots.release()
            raise
        number = len(self._tasks) + 1
        task = asyncio.create_task(make(number))
        task.add_done_callback(lambda _: self._bucket.slots.release())
        self._tasks.append(task)

    async def _send(self, content: bytes, number: int) -> dict[str, Any]:
        checksum = await asyncio.to_thread(_checksum_of, content, "md5" if self._copies else "sha256")
        with io.BytesIO(content) as body:
            answer = await self._bucket.call(
                "upload_part",
                Key=self._key,
                UploadId=self._id,
                PartNumber=number,
                Body=body,
                **{"ContentMD5" if self._copies else "ChecksumSHA256": checksum},
            )
        kept = {} if self._copies else {"ChecksumSHA256": checksum}
        return {"PartNumber": number, "ETag": answer["ETag"], **kept}

    async def _send_all(self, chunks: AsyncIterator[bytes], number: int) -> dict[str, Any]:
        return await self._send(b"".join([chunk async for chunk in chunks]), number)

    async def _copy(self, source: str, span: tuple[int, int] | None, number: int) -> dict[str, Any]:
        answer = await self._bucket.call(
            "upload_part_copy",
            Key=self._key,
            UploadId=self._id,
            PartNumber=number,
            CopySource={"Bucket": self._bucket.name, "Key": source},
            **({"CopySourceRange": f"bytes={span[0]}-{span[1] - 1}"} if span else {}),
        )
        return {"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"]}

    async def complete(self, size: int) -> None:
        """Make the object of the parts, once all are there."""
        parts = await asyncio.gather(*self._tasks)
        try:
            await self._bucket.call(
                "complete_multipart_upload",
                Key=self._key,
                UploadId=self._id,
                MultipartUpload={"Parts": parts},
                MpuObjectSize=size,
            )
        except MissingError:
            # It was, where only the answer to an earlier attempt was lost: nobody else has this key.
            if await self._bucket.size(self._key) != size:
                raise

    async def cancel(self) -> None:
        """Stop what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def clean_up(removal: Coroutine[Any, Any, Any]) -> None:
    """Remove what nobody needs any more, if that can be done soon: garbage collection does it otherwise."""

    async def limited() -> None:
        with contextlib.suppress(BlobStoreUnavailableError, TimeoutError):
            async with asyncio.timeout(CLEAN_UP_TIMEOUT):
                await removal

    await asyncio.shield(limited())


def _await_folder(response: tuple[Any, dict[str, Any]] | None, attempts: int, **_: Any) -> float | None:
    """Tell the SDK after how many seconds to try again what failed for a folder, which nobody else calls so.

    No key of an object here is a part of another's path.
    """
    if response is None or attempts >= _FOLDER_ATTEMPTS:
        return None
    return _FOLDER_PAUSE if response[1].get("Error", {}).get("Code") == _FOLDER_GONE else None


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Translate what a request to S3 raises."""
    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code"))
        if code in _MISSING:
            raise MissingError(str(error)) from error
        if code in _CONFLICT:
            raise ConflictError(str(error)) from error
        raise BlobStoreUnavailableError(str(error)) from error
    except (BotoCoreError, aiohttp.ClientError, OSError) as error:
        raise BlobStoreUnavailableError(str(error) or type(error).__name__) from error


async def _read(body: Any) -> bytes:
    with _translated():
        chunk: bytes = await body.read(READ_SIZE)
    return chunk


def _checksum_of(content: bytes, algorithm: str = "sha256") -> str:
    return base64.b64encode(hashlib.new(algorithm, content, usedforsecurity=False).digest()).decode()


def _now(answer: dict[str, Any]) -> datetime:
    """Return the time at which S3 answered, by its own clock where it tells it."""
    date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    return parsedate_to_datetime(date) if date else datetime.now(UTC)


def _seconds(since: datetime, now: datetime) -> float:
    """Return how long ago something was; at least 0, since only some times have fractions."""
    return max(0.0, (now - since).total_seconds())
