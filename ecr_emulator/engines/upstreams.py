"""Upstream registries over HTTP: the OCI distribution API as a client, with Basic and token authentication.

Redirects are followed; to another host they go without credentials (aiohttp sees to it).
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.request import getproxies, proxy_bypass

import aiohttp
from multidict import CIMultiDictProxy
from yarl import URL

from ecr_emulator.blobs.base import digest_of, is_digest
from ecr_emulator.core.manifest import IMAGE_TYPES, INDEX_TYPES, MAX_SIZE
from ecr_emulator.core.upstream import (
    MAX_REFERRERS,
    Credentials,
    Fault,
    UpstreamError,
    UpstreamManifest,
    access_denied,
    unavailable,
)
from ecr_emulator.outbound import Client

# Seconds to connect, and between two reads.
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=60)
_MANIFEST_TYPES = (*INDEX_TYPES, *IMAGE_TYPES)
_ACCEPT = ", ".join(_MANIFEST_TYPES)
# Most pages of referrers that are read, for an upstream that never comes to an end.
_MAX_PAGES = 100
# Seconds that a token lasts where its server does not say (distribution's token specification), for
# which an upstream is taken to want Basic, and before the end of either in which it is not used any more.
_TOKEN_LIFETIME = 60.0
_BASIC_LIFETIME = 3600.0
_LIFETIME_MARGIN = 5.0
_MAX_TOKEN_ANSWER = 1 << 20
_CHUNK_SIZE = 1 << 18

_SCHEME = re.compile(r"\s*([A-Za-z]+)(?:\s+|$)")
_PARAMETER = re.compile(r'([A-Za-z_]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))')


def read_challenge(text: str) -> tuple[str, dict[str, str]]:
    """Return the scheme, in lower case, and the parameters of a WWW-Authenticate header."""
    match = _SCHEME.match(text)
    if match is None:
        return "", {}
    parameters = {
        name.lower(): quoted.replace('\\"', '"') or bare
        for name, quoted, bare in _PARAMETER.findall(text, match.end())
    }
    return match[1].lower(), parameters


class HttpUpstreams:
    """Reaches upstream registries at ``https://HOST``, or where ``urls`` has a host."""

    def __init__(self, urls: Mapping[str, str]) -> None:
        self._urls = {host: URL(url) for host, url in urls.items()}
        self._client = Client(
            timeout=_TIMEOUT,
            # Digests are of the bytes as they were pushed, which no server should pack on the way.
            auto_decompress=False,
            headers={"Accept-Encoding": "identity"},
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=_CHUNK_SIZE,
        )
        self._authorizations: dict[tuple[URL, Credentials | None, str], tuple[str, float]] = {}

    def repository(self, host: str, name: str, credentials: Credentials | None) -> HttpRepository:
        """Return a repository of the registry on a host, which is not asked yet."""
        url = self._urls.get(host) or URL(f"https://{host}")
        if credentials is None and url.user is not None:
            credentials = Credentials(url.user, url.password or "")
        return HttpRepository(self, url.with_user(None), name, credentials)

    async def close(self) -> None:
        """Let go of connections."""
        await self._client.close()

    async def session(self) -> aiohttp.ClientSession:
        """Return the client."""
        return await self._client.session()

    def kept_authorization(self, url: URL, credentials: Credentials | None, scope: str) -> str | None:
        """Return the Authorization header of an earlier request, where it still holds."""
        header, expires_at = self._authorizations.get((url, credentials, scope), ("", 0.0))
        return header if expires_at > asyncio.get_running_loop().time() else None

    def keep_authorization(
        self, url: URL, credentials: Credentials | None, scope: str, header: str, lifetime: float
    ) -> None:
        """Keep an Authorization header for as long as it holds, and drop those that do not any more."""
        now = asyncio.get_running_loop().time()
        kept = {key: value for key, value in self._authorizations.items() if value[1] > now}
        kept[url, credentials, scope] = (header, now + lifetime - _LIFETIME_MARGIN)
        self._authorizations = kept


class HttpRepository:
    """An UpstreamRepository over HTTP."""

    def __init__(
        self, upstreams: HttpUpstreams, url: URL, name: str, credentials: Credentials | None
    ) -> None:
        self._upstreams = upstreams
        self._url = url
        self._name = name
        self._credentials = credentials

    async def check(self) -> None:
        """Check that the registry can be reached and takes the credentials."""
        async with await self._open("GET", "/v2/"):
            pass

    async def resolve(self, tag: str) -> str:
        """Return the digest that a tag stands for, by HEAD or, of a registry that won't say, by GET."""
        async with await self._open("HEAD", f"/v2/{self._name}/manifests/{tag}") as response:
            digest = response.headers.get("Docker-Content-Digest", "")
        return digest if is_digest(digest) else digest_of((await self.manifest(tag)).content)

    async def manifest(self, reference: str) -> UpstreamManifest:
        """Fetch a manifest by tag or by digest."""
        async with await self._open("GET", f"/v2/{self._name}/manifests/{reference}") as response:
            media_type = response.headers.get("Content-Type", "").partition(";")[0].strip()
            return UpstreamManifest(await _read(response, MAX_SIZE), media_type or None)

    async def referrers(self, subject: str) -> list[str]:
        """Return the digests of the manifests whose subject is a digest, of all pages.

        Of a registry without the API those that clients listed under a tag (OCI distribution specification,
        Unavailable Referrers API).
        """
        path = f"/v2/{self._name}/referrers/{subject}"
        found: list[str] = []
        page: URL | None = None
        for _ in range(_MAX_PAGES):
            try:
                response = await self._open("GET", path, page)
            except UpstreamError as error:
                if error.fault is not Fault.NOT_FOUND:
                    raise
                return found if page else await self._tagged_referrers(subject)
            async with response:
                found += read_referrers(await _read(response, MAX_SIZE))
                page = self._next_page(response)
            if page is None or len(found) > MAX_REFERRERS:
                return found
        raise unavailable(f"its list of referrers has more than {_MAX_PAGES} pages")

    async def _tagged_referrers(self, subject: str) -> list[str]:
        """Return what is listed under the tag for a digest's referrers, nothing where there is none."""
        try:
            index = await self.manifest(referrers_tag(subject))
        except UpstreamError as error:
            if error.fault is not Fault.NOT_FOUND:
                raise
            return []
        return read_referrers(index.content)

    def _next_page(self, response: aiohttp.ClientResponse) -> URL | None:
        """Return where a list goes on, which has to be on the same registry: it is asked with credentials."""
        try:
            link = response.links.get("next")
            page = None if link is None else URL(link["url"])
            if page is not None and page.origin() != self._url.origin():
                raise unavailable("its list of referrers goes on elsewhere")
        except ValueError as error:
            raise unavailable(str(error)) from error
        return page

    @asynccontextmanager
    async def blob(self, digest: str) -> AsyncIterator[AsyncIterable[bytes]]:
        """Give the bytes of a blob, as they come in."""
        async with await self._open("GET", f"/v2/{self._name}/blobs/{digest}") as response:
            yield _chunks(response)

    async def _open(self, method: str, path: str, page: URL | None = None) -> aiohttp.ClientResponse:
        """Return a successful response, having done what authentication it took.

        ``page`` is the URL of a further page of what the path has.
        """
        scope = "" if path == "/v2/" else f"repository:{self._name}:pull"
        url = page or self._url.with_path(self._url.path.rstrip("/") + path)
        accept = _ACCEPT if "/manifests/" in path else "*/*"
        authorization = self._upstreams.kept_authorization(self._url, self._credentials, scope)
        headers = {"Authorization": authorization} if authorization else {}
        response = await self._send(method, url, headers | {"Accept": accept})
        if response.status == 401:
            # Also where a token that was kept has ended before its time.
            response.release()
            headers = {"Authorization": await self._authorize(response.headers, scope)}
            response = await self._send(method, url, headers | {"Accept": accept})
        _check_status(response)
        return response

    async def _send(self, method: str, url: URL, headers: dict[str, str]) -> aiohttp.ClientResponse:
        try:
            session = await self._upstreams.session()
            return await session.request(method, url, headers=headers, proxy=_proxy(url))
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise unavailable(str(error) or type(error).__name__) from error

    async def _authorize(self, headers: CIMultiDictProxy[str], scope: str) -> str:
        """Return the Authorization header that the challenge of a 401 asks for."""
        challenges = dict(map(read_challenge, headers.getall("WWW-Authenticate", [])))
        if "bearer" in challenges:
            authorization, lifetime = await self._fetch_token(challenges["bearer"], scope)
        elif "basic" in challenges and self._credentials is not None:
            authorization, lifetime = _basic(self._credentials), _BASIC_LIFETIME
        else:
            raise access_denied()
        self._upstreams.keep_authorization(self._url, self._credentials, scope, authorization, lifetime)
        return authorization

    async def _fetch_token(self, challenge: dict[str, str], scope: str) -> tuple[str, float]:
        query = {"scope": scope} if scope else {}
        query |= {name: challenge[name] for name in ("service", "scope") if challenge.get(name)}
        headers = {}
        if self._credentials is not None:
            query["account"] = self._credentials.username
            headers["Authorization"] = _basic(self._credentials)
        try:
            realm = URL(challenge.get("realm", "")).update_query(query)
        except ValueError as error:
            raise unavailable(str(error)) from error
        async with await self._send("GET", realm, headers) as response:
            _check_status(response)
            return read_token(await _read(response, _MAX_TOKEN_ANSWER))


def read_token(content: bytes) -> tuple[str, float]:
    """Return the Authorization header and the lifetime in seconds that a token server's answer gives.

    Raises UpstreamError.
    """
    try:
        answer: Any = json.loads(content)
        token = answer.get("token") or answer["access_token"]
        return f"Bearer {token}", float(answer.get("expires_in") or _TOKEN_LIFETIME)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise unavailable("its token server has not given a token") from error


def referrers_tag(subject: str) -> str:
    """Return the tag under which clients list a digest's referrers where a registry does not.

    OCI distribution specification, Referrers Tag Schema.
    """
    algorithm, _, encoded = subject.partition(":")
    return f"{algorithm}-{encoded[:64]}"


def read_referrers(content: bytes) -> list[str]:
    """Return the digests that an index of referrers lists, of manifests such as ECR takes.

    Raises UpstreamError.
    """
    try:
        entries: Any = json.loads(content)["manifests"]
        digests = [entry["digest"] for entry in entries if entry["mediaType"] in _MANIFEST_TYPES]
        if all(map(is_digest, digests)):
            return digests
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    raise unavailable("it has not given an index of referrers")


def _basic(credentials: Credentials) -> str:
    return "Basic " + base64.b64encode(f"{credentials.username}:{credentials.password}".encode()).decode()


def _proxy(url: URL) -> str | None:
    """Return the proxy that the environment has for a URL.

    aiohttp's own look at the environment would take credentials from ``~/.netrc`` too.
    """
    return None if proxy_bypass(url.host or "") else getproxies().get(url.scheme)


def _check_status(response: aiohttp.ClientResponse) -> None:
    status = response.status
    if status == 200:
        return
    response.release()
    if status in (401, 403):
        raise access_denied()
    if status == 404:
        raise UpstreamError(Fault.NOT_FOUND, "Requested image not found")
    if status == 429:
        raise UpstreamError(
            Fault.TOO_MANY_REQUESTS, "The upstream registry has received too many requests. Try again later."
        )
    raise unavailable(f"it has answered with status {status}")


async def _chunks(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    try:
        async for chunk in response.content.iter_chunked(_CHUNK_SIZE):
            yield chunk
    except (aiohttp.ClientError, TimeoutError) as error:
        raise unavailable(str(error) or type(error).__name__) from error


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    content = bytearray()
    async for chunk in _chunks(response):
        content += chunk
        if len(content) > limit:
            raise unavailable(f"it has answered with more than {limit} bytes")
    return bytes(content)
