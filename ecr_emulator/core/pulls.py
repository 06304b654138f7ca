"""Pulls: of what a repository has, and through the pull-through cache of what its upstream has.

Both planes ask these coroutines for images, layers and referrers. Of an image that is not there, where a rule
leads to an upstream, only the manifest is fetched at once; its layers and children follow as they are
asked for, and all the rest by a task (``finish``). Until it is whole, nothing is told of it to what
subscribes to pushes. The behaviour is that of the ECR user guide, "Sync an upstream registry with an
Amazon ECR private registry".
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from ecr_emulator.blobs.base import Blob, DigestMismatchError, is_digest
from ecr_emulator.core import (
    authorization,
    errors,
    events,
    images,
    layers,
    manifest,
    pull_through,
    pushes,
    repositories,
    templates,
)
from ecr_emulator.core.call import Call
from ecr_emulator.core.emulator import Emulator
from ecr_emulator.core.images import Failure, FoundImage, ImageId
from ecr_emulator.core.local_upstream import LocalRepository
from ecr_emulator.core.manifest import Manifest
from ecr_emulator.core.names import is_tag
from ecr_emulator.core.pushes import Push
from ecr_emulator.core.upstream import (
    MAX_REFERRERS,
    Credentials,
    Fault,
    SecretError,
    UpstreamError,
    UpstreamRepository,
    unavailable,
)
from ecr_emulator.metadata.images import Image, ReferrerFilter
from ecr_emulator.metadata.layers import Layer
from ecr_emulator.metadata.pull_through import PullThroughRule
from ecr_emulator.metadata.repositories import Repository
from ecr_emulator.metadata.store import Transaction
from ecr_emulator.metadata.tasks import Task

_logger = logging.getLogger(__name__)

# Seconds after which a tag is compared with its upstream again, when it is pulled, and referrers when they
# are listed.
REFRESH_INTERVAL = 24 * 3600.0
# The engine that does the tasks.
ENGINE = "pull-through"


class _Fetch(Struct, frozen=True):
    """What an upstream has to be asked before a pull is answered."""

    rule: PullThroughRule
    reference: str
    cached: str | None
    """The digest that is in the cache, where only a newer one would be fetched."""

    @property
    def tag(self) -> str | None:
        """The tag, of an image that is not named by its digest."""
        return None if ":" in self.reference else self.reference

    @property
    def digest(self) -> str | None:
        """The digest, of an image that is named by it."""
        return self.reference if ":" in self.reference else None


# -------------------------------------------------------------------------------------------- images


class Pulled(Struct, frozen=True):
    """An image with its manifest; ``is_local`` where no upstream is ever asked about it."""

    image: FoundImage
    is_local: bool


async def find_image(emulator: Emulator, call: Call, name: str, image_id: ImageId) -> Pulled:
    """Return one image with its manifest, from the repository or through it from its upstream.

    Raises RepositoryNotFound- and ImageNotFoundException, and UpstreamError and LimitExceededException for
    an image that is not in the cache and can't be had, or has no room there.
    """
    found = await emulator.metadata.peek(_look_for, call, name, image_id)
    if isinstance(found, Pulled):
        return found
    await _perform(emulator, call, name, found)
    return Pulled(await emulator.metadata.peek(images.find, call, name, image_id), is_local=False)


def _look_for(tx: Transaction, call: Call, name: str, image_id: ImageId) -> _Fetch | Pulled:
    rule = pull_through.rule_for(tx, call, name)
    fetch = None if rule is None else _fetch_for(tx, call, name, image_id, rule)
    return fetch or Pulled(images.find(tx, call, name, image_id), is_local=rule is None)


async def batch_get_images(
    emulator: Emulator,
    call: Call,
    name: str,
    image_ids: Iterable[ImageId],
    accepted_media_types: Collection[str] | None,
) -> tuple[list[FoundImage], list[Failure]]:
    """Return images with their manifests and failures, as ``images.batch_get`` and ``find_image`` do.

    Raises RepositoryNotFoundException, UnableToGetUpstreamImageException where the secret with the
    credentials for the upstream is of no use, and LimitExceededException where the cache has no room.
    """
    wanted = list(dict.fromkeys(image_ids))
    fetches, answer = await emulator.metadata.peek(_look_for_all, call, name, wanted, accepted_media_types)
    if answer is not None:
        return answer
    refused: dict[ImageId, UpstreamError] = {}
    for image_id, fetch in fetches.items():
        try:
            await _perform(emulator, call, name, fetch)
        except SecretError as error:
            raise errors.UnableToGetUpstreamImageException(error.message) from error
        except UpstreamError as error:
            refused[image_id] = error
    try:
        found, failures = await emulator.metadata.peek(
            images.batch_get, call, name, wanted, accepted_media_types
        )
    except errors.RepositoryNotFoundException:
        if not refused:
            raise
        found, failures = [], [images.not_there(image_id) for image_id in wanted]
    return found, [_explained(failure, refused.get(failure.image_id)) for failure in failures]


def _explained(failure: Failure, error: UpstreamError | None) -> Failure:
    return failure if error is None else Failure(failure.image_id, error.fault.value, error.message)


def _look_for_all(
    tx: Transaction,
    call: Call,
    name: str,
    image_ids: Sequence[ImageId],
    accepted_media_types: Collection[str] | None,
) -> tuple[dict[ImageId, _Fetch], tuple[list[FoundImage], list[Failure]] | None]:
    rule = pull_through.rule_for(tx, call, name)
    fetches = {
        image_id: fetch
        for image_id in image_ids
        if rule is not None and (fetch := _fetch_for(tx, call, name, image_id, rule)) is not None
    }
    return fetches, None if fetches else images.batch_get(tx, call, name, image_ids, accepted_media_types)


def _fetch_for(
    tx: Transaction, call: Call, name: str, image_id: ImageId, rule: PullThroughRule
) -> _Fetch | None:
    """Tell what a rule's upstream is to be asked about an image: nothing, of one that is there and fresh.

    Nothing either where the caller may not import images, or not create the repository that is missing;
    then what is there is all there is (user guide, Troubleshooting pull through cache issues).
    """
    digest, tag = image_id.digest, image_id.tag
    reference = tag or digest
    if reference is None or (tag and not is_tag(tag)) or (digest and not is_digest(digest)):
        return None
    repository = tx.repositories.get(call.registry.account, call.registry.region, name)
    if not _may_import(tx, call, name, creates=repository is None):
        return None
    image = None
    if repository is not None and digest is not None:
        image = tx.images.by_digest(repository.id, digest)
    elif repository is not None:
        image = tx.images.by_tag(repository.id, reference)
    if image is None:
        return _Fetch(rule, reference, None)
    if digest is None and _is_stale(tx, call, image, reference):
        return _Fetch(rule, reference, image.digest)
    return None


def _may_import(tx: Transaction, call: Call, name: str, *, creates: bool) -> bool:
    return authorization.may(tx, call, "ecr:BatchImportUpstreamImage", name) and (
        not creates or authorization.may(tx, call, "ecr:CreateRepository", name)
    )


def _is_stale(tx: Transaction, call: Call, image: Image, tag: str) -> bool:
    """Tell whether a tag that came from the upstream, and still does, has to be compared with it again."""
    origin = tx.upstream_tags.get(image.repository_id, tag)
    return (
        origin is not None
        and origin.image_id == image.id
        and call.now - origin.checked_at >= REFRESH_INTERVAL
    )


async def _perform(emulator: Emulator, call: Call, name: str, fetch: _Fetch) -> None:
    """Fetch an image into the cache; one that the upstream does not have is no error here.

    Raises UpstreamError and, past a quota, LimitExceededException, but not where the cache has an image to
    fall back on, and RepositoryNotFoundException where no repository could be created.
    """
    try:
        await emulator.flights.join(
            (call.registry, name, "manifest", fetch.reference),
            partial(_try_to_fetch_image, emulator, call, name, fetch),
        )
    except (UpstreamError, errors.LimitExceededException) as error:
        if fetch.cached is not None:
            _logger.warning("%s:%s is served from the cache: %s", name, fetch.reference, error.message)
        elif not isinstance(error, UpstreamError) or error.fault is not Fault.NOT_FOUND:
            raise


async def _try_to_fetch_image(emulator: Emulator, call: Call, name: str, fetch: _Fetch) -> None:
    try:
        await _fetch_image(emulator, call, name, fetch)
    except UpstreamError as error:
        try:
            await emulator.metadata.write(_note_failure, call, name, fetch, error)
        except Exception:
            # What the client is told is why the upstream failed, and not that the disk is full.
            _logger.exception("an event could not be written", extra={"request_id": call.request_id})
        raise


def _note_failure(tx: Transaction, call: Call, name: str, fetch: _Fetch, error: UpstreamError) -> None:
    failure = error.fault.value, error.message
    events.on_pull_through(tx, call, name, fetch.rule, fetch.tag, fetch.digest, failure)


async def _fetch_image(emulator: Emulator, call: Call, name: str, fetch: _Fetch) -> None:
    source = await upstream_repository(emulator, call, fetch.rule, name)
    reference = fetch.reference
    if fetch.cached is not None:
        reference = await source.resolve(reference)
        if reference == fetch.cached:
            await emulator.metadata.write(_note_comparison, call, name, fetch.reference)
            return
    parsed = await _fetch_manifest(source, reference)
    await emulator.metadata.write(_store_image, call, name, fetch.rule, parsed, fetch.tag)


async def _fetch_manifest(source: UpstreamRepository, reference: str) -> Manifest:
    fetched = await source.manifest(reference)
    algorithm = reference.partition(":")[0] if ":" in reference else "sha256"
    try:
        parsed = manifest.parse(fetched.content, fetched.media_type, algorithm)
    except errors.InvalidParameterException as error:
        raise unavailable(error.message) from error
    if ":" in reference and parsed.digest != reference:
        raise unavailable(f"it has given a manifest with the digest '{parsed.digest}' for '{reference}'")
    return parsed


def _note_comparison(tx: Transaction, call: Call, name: str, tag: str) -> None:
    repository = repositories.find(tx, call, name)
    image_id = tx.tags.image_id(repository.id, tag)
    if image_id is not None:
        tx.upstream_tags.put(repository.id, tag, image_id, call.now)


def _store_image(
    tx: Transaction, call: Call, name: str, rule: PullThroughRule, parsed: Manifest, tag: str | None
) -> None:
    repository = templates.find_or_create(tx, call, name, templates.Case.PULL_THROUGH_CACHE)
    image, is_new = images.cache(tx, call, repository, parsed)
    moved = False
    if tag is not None:
        tagged = tx.tags.image_id(repository.id, tag)
        # User guide: immutability keeps ECR from updating images that have the same tag.
        moved = tagged is None or not (tagged == image.id or repositories.is_immutable(repository, tag))
        if moved:
            images.put_tag(tx, call, repository, image, tag)
        tx.upstream_tags.put(repository.id, tag, image.id if moved else tagged or image.id, call.now)
    if is_new or moved:
        payload = {
            "repository": name,
            "digest": image.digest,
            "tag": tag if moved else None,
            "is_new": is_new,
        }
        tx.tasks.add(ENGINE, repository.account, repository.region, payload)
    events.on_pull_through(tx, call, name, rule, tag, image.digest)


# -------------------------------------------------------------------------------------------- layers


async def open_layer(emulator: Emulator, call: Call, name: str, digest: str) -> Blob:
    """Return what a layer can be read from, fetched if the upstream has it.

    Raises RepositoryNotFound- and LayersNotFoundException, and UpstreamError.
    """
    try:
        return await layers.open_blob(emulator, call, name, digest)
    except errors.LayersNotFoundException:
        await _fetch_missing_layer(emulator, call, name, digest)
    return await layers.open_blob(emulator, call, name, digest)


async def find_layer_in_image(emulator: Emulator, call: Call, name: str, digest: str) -> Layer:
    """Return a layer that an image uses, fetched if the upstream has it.

    Raises RepositoryNotFound-, LayersNotFound-, LayerInaccessible- and UnableToGetUpstreamLayerException.
    """
    try:
        return await emulator.metadata.peek(layers.find_in_image, call, name, digest)
    except errors.LayersNotFoundException:
        try:
            await _fetch_missing_layer(emulator, call, name, digest)
        except UpstreamError as error:
            raise errors.UnableToGetUpstreamLayerException(error.message) from error
    return await emulator.metadata.peek(layers.find_in_image, call, name, digest)


async def _fetch_missing_layer(emulator: Emulator, call: Call, name: str, digest: str) -> None:
    """Fetch a layer that a cached image names; any other is none of the upstream's business."""
    rule = await emulator.metadata.peek(_rule_for_layer, call, name, digest)
    if rule is None:
        return
    try:
        await _join_layer(emulator, call, name, digest, rule)
    except UpstreamError as error:
        if error.fault is not Fault.NOT_FOUND:
            raise


def _rule_for_layer(tx: Transaction, call: Call, name: str, digest: str) -> PullThroughRule | None:
    repository = repositories.find(tx, call, name)
    if not tx.layers.is_named(repository.id, digest):
        return None
    return pull_through.rule_for(tx, call, name)


async def _join_layer(emulator: Emulator, call: Call, name: str, digest: str, rule: PullThroughRule) -> None:
    await emulator.flights.join(
        (call.registry, name, "layer", digest), partial(_fetch_layer, emulator, call, name, digest, rule)
    )


async def _fetch_layer(emulator: Emulator, call: Call, name: str, digest: str, rule: PullThroughRule) -> None:
    source = await upstream_repository(emulator, call, rule, name)
    async with source.blob(digest) as chunks:
        try:
            await layers.store(emulator, call, name, digest, chunks)
        except DigestMismatchError as error:
            raise unavailable(f"it has given bytes with the digest '{error.actual}' for '{digest}'") from None


# ----------------------------------------------------------------------------------------- referrers


class _Listing(Struct, frozen=True):
    """What an upstream has to be asked before referrers are listed."""

    rule: PullThroughRule
    is_first: bool
    """Whether it was never asked before, so that what the cache has may be nothing."""


async def list_referrers(
    emulator: Emulator,
    call: Call,
    name: str,
    subject: str,
    wanted: ReferrerFilter,
    after: int,
    limit: int,
) -> list[Image]:
    """Return a page of referrers as ``images.referrers`` does, with those that the upstream has.

    The upstream is asked at most once a day. Raises RepositoryNotFoundException and, but not where it was
    asked before, UpstreamError and LimitExceededException (of the repository's images).
    """
    arguments = (call, name, subject, wanted, after, limit)
    listing, found = await emulator.metadata.read(_look_for_referrers, *arguments)
    if listing is None:
        return found
    await _refresh_referrers(emulator, call, name, subject, listing)
    return await emulator.metadata.read(images.referrers, *arguments)


def _look_for_referrers(
    tx: Transaction, call: Call, name: str, subject: str, wanted: ReferrerFilter, after: int, limit: int
) -> tuple[_Listing | None, list[Image]]:
    listing = _listing_for(tx, call, name, subject)
    return listing, [] if listing else images.referrers(tx, call, name, subject, wanted, after, limit)


def _listing_for(tx: Transaction, call: Call, name: str, subject: str) -> _Listing | None:
    """Tell what an upstream is to be asked about referrers: nothing, where that was done today.

    Nor where the caller may not import what it has, as in ``_fetch_for``.
    """
    rule = pull_through.rule_for(tx, call, name)
    if rule is None:
        return None
    repository = tx.repositories.get(call.registry.account, call.registry.region, name)
    if not _may_import(tx, call, name, creates=repository is None):
        return None
    listed_at = None if repository is None else tx.upstream_referrers.listed_at(repository.id, subject)
    if listed_at is not None and call.now - listed_at < REFRESH_INTERVAL:
        return None
    return _Listing(rule, listed_at is None)


async def _refresh_referrers(
    emulator: Emulator, call: Call, name: str, subject: str, listing: _Listing
) -> None:
    try:
        await emulator.flights.join(
            (call.registry, name, "referrers", subject),
            partial(_cache_referrers, emulator, call, name, subject, listing.rule),
        )
    except (UpstreamError, errors.LimitExceededException) as error:
        if listing.is_first:
            raise
        _logger.warning("the referrers of %s@%s are those of the cache: %s", name, subject, error.message)


async def _cache_referrers(
    emulator: Emulator, call: Call, name: str, subject: str, rule: PullThroughRule
) -> None:
    """Fetch the referrers that the cache lacks; what is fetched before one fails is kept."""
    source = await upstream_repository(emulator, call, rule, name)
    digests = await source.referrers(subject)
    if len(digests) > MAX_REFERRERS:
        raise unavailable(f"it has more than {MAX_REFERRERS} referrers")
    for digest in digests:
        if not await emulator.metadata.read(_has_image, call, name, digest):
            await _perform(emulator, call, name, _Fetch(rule, digest, None))
    await emulator.metadata.write(_note_listing, call, name, subject)


def _note_listing(tx: Transaction, call: Call, name: str, subject: str) -> None:
    """Remember a listing; not of a digest that nothing here has to do with, or there is no end of them."""
    repository = tx.repositories.get(call.registry.account, call.registry.region, name)
    if repository is None:
        return
    every = ReferrerFilter(status="ANY")
    if tx.images.by_digest(repository.id, subject) or tx.images.referrers(
        repository.id, subject, every, 0, 1
    ):
        tx.upstream_referrers.put(repository.id, subject, call.now)


# ----------------------------------------------------------------------------------------- upstreams


async def upstream_repository(
    emulator: Emulator, call: Call, rule: PullThroughRule, name: str
) -> UpstreamRepository:
    """Return the upstream's repository for a name below a rule's prefix.

    A private ECR registry is one of this emulator, unless a setting has its host elsewhere. Raises
    SecretError.
    """
    upstream_name = pull_through.upstream_name(rule, name)
    registry = pull_through.ecr_registry(rule.upstream_host)
    if registry is not None and rule.upstream_host not in emulator.settings.upstreams:
        # Without a role it is ECR's own that asks, which no identity policy limits.
        role = rule.custom_role_arn
        asking = replace(
            call,
            registry=registry,
            caller_arn=role or call.caller_arn,
            identity=emulator.principals.identities.get(role) if role else None,
        )
        return LocalRepository(emulator, asking, upstream_name)
    credentials = await _credentials(emulator, call, rule)
    return emulator.upstreams.repository(rule.upstream_host, upstream_name, credentials)


async def _credentials(emulator: Emulator, call: Call, rule: PullThroughRule) -> Credentials | None:
    if rule.credential_arn is None:
        return None
    try:
        secret = await emulator.secrets.get(rule.credential_arn, call.registry)
    except errors.EcrError as error:
        raise SecretError(error.message) from error
    username, password = secret.get("username"), secret.get("accessToken")
    if not (isinstance(username, str) and isinstance(password, str)):
        raise SecretError(
            "The secret specified in the pull through cache rule must have the keys username and "
            "accessToken. Update the secret and try again."
        )
    return Credentials(username, password)


async def validate_rule(emulator: Emulator, call: Call, prefix: str) -> tuple[PullThroughRule, str | None]:
    """Return a rule, and why its upstream can't be used or None where it can.

    Raises PullThroughCacheRuleNotFoundException.
    """
    rule = await emulator.metadata.peek(pull_through.find, call, prefix)
    try:
        source = await upstream_repository(emulator, call, rule, prefix)
        await source.check()
    except UpstreamError as error:
        return rule, error.message
    return rule, None


# --------------------------------------------------------------------------------- what a pull leaves


async def finish(emulator: Emulator, call: Call, task: Task) -> None:
    """Do a task: make a cached image whole, and tell of it those who subscribe to pushes.

    Of an index, the images that are fetched now get tasks of their own, and it gets another that
    comes after them. An image that is gone, or its rule, ends the task. Raises UpstreamError.
    """
    name, digest = task.payload["repository"], task.payload["digest"]
    missing = await emulator.metadata.read(_missing_parts, call, name, digest)
    fetched = 0
    if missing is not None:
        for child in missing.children:
            await _perform(emulator, call, name, _Fetch(missing.rule, child, None))
            fetched += await emulator.metadata.read(_has_image, call, name, child)
        for layer in missing.layers:
            await _join_layer(emulator, call, name, layer, missing.rule)
    await emulator.metadata.write(_end_task, call, task, again=fetched > 0)


class _MissingParts(Struct, frozen=True):
    rule: PullThroughRule
    layers: list[str]
    children: list[str]


def _missing_parts(tx: Transaction, call: Call, name: str, digest: str) -> _MissingParts | None:
    rule = pull_through.rule_for(tx, call, name)
    found = _cached_image(tx, call, name, digest)
    if rule is None or found is None:
        return None
    _, image = found
    return _MissingParts(rule, images.missing_layers(tx, image), tx.images.missing_children(image.id))


def _has_image(tx: Transaction, call: Call, name: str, digest: str) -> bool:
    return _cached_image(tx, call, name, digest) is not None


def _cached_image(tx: Transaction, call: Call, name: str, digest: str) -> tuple[Repository, Image] | None:
    repository = tx.repositories.get(call.registry.account, call.registry.region, name)
    image = None if repository is None else tx.images.by_digest(repository.id, digest)
    return None if repository is None or image is None else (repository, image)


def _end_task(tx: Transaction, call: Call, task: Task, *, again: bool) -> None:
    if not tx.tasks.delete(task.id):
        return
    found = _cached_image(tx, call, task.payload["repository"], task.payload["digest"])
    if found is None:
        return
    repository, image = found
    if again:
        tx.tasks.add(task.engine, task.account, task.region, task.payload)
        return
    if image.media_type in manifest.INDEX_TYPES:
        size = tx.images.size_as_index(image.id)
        image = replace(image, size=size)
    pushes.announce(
        tx, call, Push(repository, image, task.payload["tag"], task.payload["is_new"], "upstream")
    )
