"""Seeding: bringing registries to a described state, images and all.

What is described and there already stays, so that the same description can be applied again. What is there
and not described stays, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import tomllib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from ecr_emulator.blobs.base import DigestMismatchError
from ecr_emulator.core import archive, description, errors, images, layers, sources
from ecr_emulator.core.call import Call, unattended
from ecr_emulator.core.clock import parse_time
from ecr_emulator.core.description import Description, DescriptionError, path_of
from ecr_emulator.core.emulator import Stores, limits_of
from ecr_emulator.core.images import ImageId
from ecr_emulator.core.registry import Registry
from ecr_emulator.core.sources import GeneratedLayer, Open, SourceError, SourceImage
from ecr_emulator.metadata.store import Transaction

# Seconds of the units that a duration has.
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
# Bytes of the one layer of an image that is generated and told nothing.
_LAYER_SIZE = 1024


class Seeded(Struct):
    """How much was described; ``new_images`` of the images were not there."""

    repositories: int = 0
    images: int = 0
    new_images: int = 0


def load(path: Path) -> Any:
    """Read a seed file: TOML, or JSON where its name says so. Raises DescriptionError."""
    try:
        text = path.read_text()
        return json.loads(text) if path.suffix == ".json" else description.plain(tomllib.loads(text))
    except (OSError, ValueError) as error:
        raise DescriptionError(f"can't read {path}: {error}") from None


async def seed_from(stores: Stores, path: Path) -> Seeded:
    """Bring the stores to what a seed file describes. Raises what ``seed`` raises."""
    document = await asyncio.to_thread(load, path)
    try:
        return await seed(stores, document, path.parent)
    except DescriptionError as error:
        raise DescriptionError("\n".join(f"{path}: {line}" for line in str(error).splitlines())) from None


async def seed(stores: Stores, document: Any, folder: Path) -> Seeded:
    """Bring the stores to what a document describes, in which paths are below a folder.

    Images are pushed: what a push sets off happens. Raises DescriptionError, whose message says where in the
    document something is wrong.
    """
    await asyncio.to_thread(description.validate, document)
    seeded = Seeded()
    await _seed_registry(stores, document, (), folder, seeded)
    for number, described in enumerate(document.get("registries", ())):
        await _seed_registry(stores, described, ("registries", number), folder, seeded)
    return seeded


@contextlib.contextmanager
def _at(*steps: str | int) -> Iterator[None]:
    """Have errors say where in the document it was."""
    try:
        yield
    except errors.EcrError as error:
        raise DescriptionError(f"{path_of(steps) or 'registry'}: {error.message}") from None
    except (SourceError, DescriptionError) as error:
        raise DescriptionError(f"{path_of(steps) or 'registry'}: {error}") from None


async def _seed_registry(
    stores: Stores, described: Description, path: tuple[str | int, ...], folder: Path, seeded: Seeded
) -> None:
    settings = stores.settings
    registry = Registry(
        described.get("account", settings.account_id), described.get("region", settings.region)
    )
    call = unattended(registry, stores.clock.now(), limits_of(stores), stores.encryption)
    with _at(*path):
        await asyncio.to_thread(description.prepare, described)
        await stores.metadata.write(description.apply_registry, call, described)
    for number, repository in enumerate(described.get("repositories", ())):
        at = (*path, "repositories", number)
        with _at(*at):
            await asyncio.to_thread(description.prepare, repository)
            await stores.metadata.write(description.apply_repository, call, repository)
        seeded.repositories += 1
        for position, image in enumerate(repository.get("images", ())):
            with _at(*at, "images", position):
                is_new = await _seed_image(stores, call, repository["name"], image, folder)
            seeded.images += 1
            seeded.new_images += is_new


async def _seed_image(
    stores: Stores, call: Call, repository_name: str, described: Description, folder: Path
) -> bool:
    """Push an image where it is not there; tell whether it was not."""
    pushed = replace(call, now=_pushed_at(described, call.now))
    default_seed = f"{repository_name}:{','.join(described.get('tags', ()))}"
    async with _source(described, folder, default_seed) as image:
        wanted = await stores.metadata.write(_adopt, call, repository_name, list(image.blobs))
        for digest in wanted:
            chunks = _in_threads(image.blobs[digest])
            try:
                await layers.store(stores, call, repository_name, digest, chunks)
            except DigestMismatchError as error:
                raise SourceError(f"the layer {digest} has the digest {error.actual}") from None
        return await stores.metadata.write(_push, pushed, repository_name, image, described, call.now)


def _pushed_at(described: Description, now: float) -> float:
    if "pushed_ago" in described:
        return now - _seconds(described["pushed_ago"])
    try:
        return parse_time(described["pushed_at"]) if "pushed_at" in described else now
    except ValueError:
        raise DescriptionError(f"pushed_at: {described['pushed_at']!r} is no time") from None


def _seconds(duration: str) -> float:
    return float(duration[:-1]) * _UNITS[duration[-1]]


@contextlib.asynccontextmanager
async def _source(described: Description, folder: Path, default_seed: str) -> AsyncIterator[SourceImage]:
    """Give the image that is described, whose blobs can be read until the block ends."""
    if "generate" in described:
        yield await asyncio.to_thread(_generate, described["generate"], default_seed)
        return
    is_layout = "oci_layout" in described
    path = folder / described["oci_layout" if is_layout else "docker_archive"]
    with await asyncio.to_thread(sources.Opened, path) as opened:
        find = opened.oci_image if is_layout else opened.docker_image
        yield await asyncio.to_thread(find, described.get("ref"))


def _generate(wanted: Description, default_seed: str) -> SourceImage:
    seed_text = wanted.get("seed", default_seed)
    generated = [
        GeneratedLayer(layer["size"], layer["seed"])
        if isinstance(layer, dict)
        else GeneratedLayer(layer, f"{seed_text}/{number}")
        for number, layer in enumerate(wanted.get("layers", [_LAYER_SIZE]))
    ]
    return sources.generate(
        generated, wanted.get("platforms", ["linux/amd64"]), wanted.get("labels", {}), seed_text
    )


async def _in_threads(open_blob: Open) -> AsyncIterator[bytes]:
    chunks = open_blob()
    while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
        yield chunk


def _adopt(tx: Transaction, call: Call, repository_name: str, digests: list[str]) -> list[str]:
    """Return the layers that have to be uploaded."""
    repository = tx.repositories.get(call.registry.account, call.registry.region, repository_name)
    return digests if repository is None else sorted(layers.adopt(tx, call, repository, digests))


def _push(
    tx: Transaction,
    call: Call,
    repository_name: str,
    image: SourceImage,
    described: Description,
    now: float,
) -> bool:
    """Push the manifests of an image, the image itself last; tell whether it was not there."""
    repository = tx.repositories.get(call.registry.account, call.registry.region, repository_name)
    known = repository and tx.images.by_digest(repository.id, image.digest)
    if known and known.status != "ACTIVE":
        # A push would restore it.
        return False
    for parsed in image.manifests[:-1]:
        images.push(tx, call, repository_name, parsed, [])
    images.push(tx, call, repository_name, image.manifests[-1], described.get("tags", []))
    if known or repository is None:
        return False
    stored = tx.images.by_digest(repository.id, image.digest)
    if stored is not None and "last_pulled_ago" in described:
        tx.images.set_pulled(stored.id, now - _seconds(described["last_pulled_ago"]))
    if described.get("archived"):
        archive.update_storage_class(tx, call, repository_name, ImageId(image.digest), "ARCHIVE")
    return True
