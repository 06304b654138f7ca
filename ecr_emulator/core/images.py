"""Images: putting, finding, listing and deleting them."""

from __future__ import annotations

import contextlib
import json
import logging
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from ecr_emulator.blobs.base import is_digest
from ecr_emulator.core import (
    deletions,
    errors,
    pull_time_exclusions,
    pushes,
    repositories,
    scanning,
    templates,
)
from ecr_emulator.core.call import Call
from ecr_emulator.core.deletions import Deletion
from ecr_emulator.core.emulator import Emulator
from ecr_emulator.core.manifest import Manifest, parse
from ecr_emulator.core.names import TAG_PATTERN, is_tag
from ecr_emulator.core.pushes import Push
from ecr_emulator.core.scanning import ShownScan
from ecr_emulator.metadata.images import Image, ImageFilter, ReferrerFilter
from ecr_emulator.metadata.repositories import Repository
from ecr_emulator.metadata.store import Transaction

_logger = logging.getLogger(__name__)

# ECR shows a pull time that is refreshed at least once in 24 hours (ImageDetail).
PULL_TIME_INTERVAL = 24 * 3600.0
# The largest number of bytes that the API can tell (a signed 64-bit integer).
MAX_SIZE = (1 << 63) - 1


class ImageId(Struct, frozen=True):
    """How a caller names an image: by digest, by tag or by both."""

    digest: str | None = None
    tag: str | None = None

    def __str__(self) -> str:
        """Return the form that ECR's messages have."""
        digest, tag = ("null" if half is None else half for half in (self.digest, self.tag))
        return f"{{imageDigest:'{digest}', imageTag:'{tag}'}}"


class Failure(Struct, frozen=True):
    """Why one of several images in a request could not be had."""

    image_id: ImageId
    code: str
    reason: str


class TaggedImage(Struct, frozen=True):
    """An image with the names of all its tags, and its last scan where that was asked for too."""

    image: Image
    tags: list[str]
    scan: ShownScan | None = None


class FoundImage(Struct, frozen=True):
    """An image as it was asked for, with its manifest."""

    image_id: ImageId
    image: Image
    manifest: bytes


def put(
    tx: Transaction,
    call: Call,
    repository_name: str,
    manifest: Manifest,
    tag: str | None,
    *,
    expected_digest: str | None = None,
    check_references: bool = True,
    replicated: bool = False,
) -> Image:
    """Store a manifest, and point a tag at it; ``replicated`` where it is a copy from another registry.

    The first push to a repository may create it, by a template. An image that is in the archive, or on
    its way out of it, is restored at once and then counts as new (ECR user guide, "Restoring an image").

    Raises RepositoryNotFoundException, InvalidParameterException (tag), ImageDigestDoesNotMatch-,
    LayersNotFound-, ReferencedImagesNotFound-, ImageTagAlreadyExists-, LimitExceeded- (of the repository's
    images, of the image's tags), Kms- and, where nothing would change, ImageAlreadyExistsException.
    """
    repository = templates.find_or_create(tx, call, repository_name, templates.Case.CREATE_ON_PUSH)
    repositories.key_name(call, repository)
    if tag is not None:
        check_tag(tag)
    if expected_digest is not None and expected_digest != manifest.digest:
        raise errors.ImageDigestDoesNotMatchException(
            f"The digest '{manifest.digest}' of the image manifest does not match the specified digest "
            f"'{expected_digest}'"
        )
    image = tx.images.by_digest(repository.id, manifest.digest)
    tagged = None if tag is None else tx.tags.image_id(repository.id, tag)
    is_archived = image is not None and image.status != "ACTIVE"
    is_tagged = image is not None and tagged == image.id
    if image is not None and not is_archived and (tag is None or is_tagged):
        raise errors.ImageAlreadyExistsException(
            f"Image with digest '{image.digest}' and tag '{'null' if tag is None else tag}' already exists "
            f"in the repository with name '{repository.name}' in registry with id '{repository.account}'"
        )
    if (
        tag is not None
        and tagged is not None
        and not is_tagged
        and repositories.is_immutable(repository, tag)
    ):
        raise errors.ImageTagAlreadyExistsException(
            f"The image tag '{tag}' already exists in the '{repository.name}' repository and cannot be "
            "overwritten because the tag is immutable."
        )
    is_new = image is None or is_archived
    if image is None:
        image = _insert(tx, call, repository, manifest, check_references=check_references)
    elif is_archived:
        image = restore(tx, image, call.now)
    if tag is not None and not is_tagged:
        put_tag(tx, call, repository, image, tag)
    pushes.announce(tx, call, Push(repository, image, tag, is_new, "replication" if replicated else "client"))
    return image


def push(
    tx: Transaction,
    call: Call,
    repository_name: str,
    manifest: Manifest,
    tags: Sequence[str],
    *,
    expected_digest: str | None = None,
    check_references: bool = True,
) -> None:
    """Store a manifest and point several tags at it, all or none, as a push on ``/v2/`` does.

    Raises what ``put`` raises, but for ImageAlreadyExistsException: clients push what is there
    again, and have to be told that it is.
    """
    names: Sequence[str | None] = tags or [None]
    for tag in names:
        with contextlib.suppress(errors.ImageAlreadyExistsException):
            put(
                tx,
                call,
                repository_name,
                manifest,
                tag,
                expected_digest=expected_digest,
                check_references=check_references,
            )


def put_tag(tx: Transaction, call: Call, repository: Repository, image: Image, tag: str) -> None:
    """Point a tag at an image that does not have it. Raises LimitExceededException."""
    limit = call.quotas["tags_per_image"]
    if tx.tags.count(image.id) >= limit:
        raise errors.LimitExceededException(
            f"Adding tag '{tag}' to an image in the repository with name '{repository.name}' in registry "
            f"with id '{repository.account}' exceeds the maximum allowed number of tags per image which is "
            f"'{limit}'"
        )
    tx.tags.put(repository.id, tag, image.id)


def cache(tx: Transaction, call: Call, repository: Repository, manifest: Manifest) -> tuple[Image, bool]:
    """Store a manifest of an upstream registry, whose layers and children come later.

    Returns the image and whether it is new. Nobody is told of it before it is whole. Raises
    LimitExceededException.
    """
    image = tx.images.by_digest(repository.id, manifest.digest)
    if image is not None:
        return image, False
    return _insert(tx, call, repository, manifest, check_references=False), True


def _insert(
    tx: Transaction,
    call: Call,
    repository: Repository,
    manifest: Manifest,
    *,
    check_references: bool,
) -> Image:
    limit = call.quotas["images_per_repository"]
    if repository.image_count >= limit:
        raise errors.LimitExceededException(
            f"The repository with name '{repository.name}' in registry with id '{repository.account}' "
            f"already has the maximum allowed number of images which is '{limit}'"
        )
    named = {blob.digest: blob.media_type for blob in manifest.blobs}
    sizes = tx.layers.name(repository.id, named) if named else {}
    if check_references and (missing := named.keys() - sizes.keys()):
        raise errors.LayersNotFoundException(_missing("Layers", missing, repository))
    children = manifest.images
    present = tx.images.present(repository.id, children) if children else {}
    if check_references and (missing := children - present.keys()):
        raise errors.ReferencedImagesNotFoundException(_missing("Images", missing, repository))
    # ImageDetail's documentation: of a manifest list the largest of its manifests counts.
    size = max(present.values(), default=0) if manifest.is_index else compressed_size(manifest, sizes)
    image = Image(
        id=0,
        repository_id=repository.id,
        size=size,
        pushed_at=call.now,
        last_pulled_at=None,
        **described_by(manifest),
    )
    image = replace(image, id=tx.images.insert(image, manifest.content))
    if children:
        tx.images.add_children(image.id, repository.id, children)
    return image


def stored_manifest(tx: Transaction, image: Image) -> Manifest:
    """Return an image's manifest. Raises LookupError and InvalidParameterException where it is damaged."""
    return parse(tx.images.manifest(image.id), image.media_type, image.digest.partition(":")[0])


def named_layers(tx: Transaction, image: Image) -> set[str]:
    """Return the layers that an image's manifest names, and its config, whether or not they are there.

    Those of a manifest that is damaged are not known, so that they stay counted.
    """
    try:
        return {blob.digest for blob in stored_manifest(tx, image).blobs}
    except (LookupError, errors.EcrError):
        return set()


def missing_layers(tx: Transaction, image: Image) -> list[str]:
    """Return the layers that an image names and its repository does not have, in order."""
    named = named_layers(tx, image)
    return sorted(named - tx.layers.present(image.repository_id, named).keys())


def archive(tx: Transaction, image: Image, now: float) -> Image:
    """Put an active image into the archive, and return it as it is then."""
    tx.images.archive(image.id, now)
    return _with_status(tx, image, replace(image, status="ARCHIVED", last_archived_at=now))


def restore(tx: Transaction, image: Image, now: float) -> Image:
    """Take an image out of the archive, and return it as it is then."""
    tx.images.restore(image.id, now)
    return _with_status(tx, image, replace(image, status="ACTIVE", last_activated_at=now))


def set_history(tx: Transaction, image: Image, history: Image) -> None:
    """Give an image the status and the times of what happened to it since its push that another one has."""
    tx.images.set_history(
        image.id, history.last_pulled_at, history.status, history.last_archived_at, history.last_activated_at
    )
    _with_status(tx, image, history)


def _with_status(tx: Transaction, image: Image, changed: Image) -> Image:
    is_active = changed.status == "ACTIVE"
    if is_active != (image.status == "ACTIVE"):
        tx.layers.set_active(image.repository_id, named_layers(tx, image), is_active=is_active)
    return changed


def described_by(manifest: Manifest) -> dict[str, Any]:
    """Return the fields of an image that its manifest tells."""
    config_type = manifest.config.media_type if manifest.config else None
    return {
        "digest": manifest.digest,
        "media_type": manifest.media_type,
        "artifact_type": manifest.artifact_type or config_type,
        "config_media_type": config_type,
        "subject_digest": manifest.subject.digest if manifest.subject else None,
        "annotations": None if manifest.annotations is None else json.dumps(manifest.annotations),
        "manifest_size": len(manifest.content),
    }


def compressed_size(manifest: Manifest, layers: Mapping[str, int]) -> int:
    """Return the bytes of config and layers, a blob that is named twice counting once.

    What a manifest says of the size of a layer counts only where the layer is not there.
    """
    sizes = {blob.digest: layers.get(blob.digest, blob.size) for blob in manifest.blobs}
    return min(sum(sizes.values()), MAX_SIZE)


def _missing(noun: str, digests: Collection[str], repository: Repository) -> str:
    return (
        f"{noun} with digests '[{', '.join(sorted(digests))}]' required for pushing image into repository "
        f"with name '{repository.name}' in the registry with id '{repository.account}' do not exist"
    )


def check_tag(tag: str) -> None:
    """Raise InvalidParameterException for a text that can't be a tag."""
    if not is_tag(tag):
        raise errors.InvalidParameterException(
            "Invalid parameter at 'imageTag' failed to satisfy constraint: "
            f"'must satisfy regular expression '{TAG_PATTERN}''"
        )


def _resolve(tx: Transaction, repository: Repository, image_id: ImageId) -> Image | Failure:
    """Return the image that an id names, or why it names none."""
    if image_id.digest is None and image_id.tag is None:
        return Failure(
            image_id, "MissingDigestAndTag", "Invalid request parameters: both tag and digest cannot be null"
        )
    if image_id.digest is not None and not is_digest(image_id.digest):
        return Failure(
            image_id,
            "InvalidImageDigest",
            "Invalid request parameters: image digest should satisfy the "
            "regex '[a-zA-Z0-9-_+.]+:[a-fA-F0-9]+'",
        )
    if image_id.tag is not None and not is_tag(image_id.tag):
        return Failure(
            image_id,
            "InvalidImageTag",
            f"Invalid request parameters: image tag should satisfy the regex '{TAG_PATTERN}'",
        )
    if image_id.digest is None:
        image = tx.images.by_tag(repository.id, image_id.tag or "")
    else:
        image = tx.images.by_digest(repository.id, image_id.digest)
    if image is None:
        return not_there(image_id)
    if (
        None not in (image_id.digest, image_id.tag)
        and tx.tags.image_id(repository.id, image_id.tag or "") != image.id
    ):
        return Failure(image_id, "ImageTagDoesNotMatchDigest", "Image tag does not match image digest")
    return image


def resolve(tx: Transaction, repository: Repository, image_id: ImageId) -> Image:
    """Return the image that an id names, whatever its status.

    Raises ImageNotFoundException, and InvalidParameterException for an id that can name none.
    """
    image = _resolve(tx, repository, image_id)
    if isinstance(image, Failure):
        if image.code in ("MissingDigestAndTag", "InvalidImageDigest", "InvalidImageTag"):
            raise errors.InvalidParameterException(image.reason)
        raise _not_found(image_id, repository)
    return image


def not_there(image_id: ImageId) -> Failure:
    """Return ECR's failure for an image that is not there."""
    return Failure(image_id, "ImageNotFound", "Requested image not found")


def _not_found(image_id: ImageId, repository: Repository) -> errors.ImageNotFoundException:
    return errors.ImageNotFoundException(
        f"The image with imageId {image_id} does not exist within the repository with name "
        f"'{repository.name}' in the registry with id '{repository.account}'"
    )


def find(tx: Transaction, call: Call, repository_name: str, image_id: ImageId) -> FoundImage:
    """Return one image with its manifest, to be pulled.

    Raises RepositoryNotFoundException, KmsException, and ImageNotFoundException for an archived image too:
    a pull of one fails as if it were not there (ECR user guide, "Archiving an image").
    """
    repository = repositories.find(tx, call, repository_name)
    image = _resolve(tx, repository, image_id)
    if isinstance(image, Failure) or image.status != "ACTIVE":
        raise _not_found(image_id, repository)
    repositories.key_name(call, repository)
    return FoundImage(image_id, image, tx.images.manifest(image.id))


def batch_get(
    tx: Transaction,
    call: Call,
    repository_name: str,
    image_ids: Iterable[ImageId],
    accepted_media_types: Collection[str] | None,
) -> tuple[list[FoundImage], list[Failure]]:
    """Return images with their manifests, and the failures of those that could not be had.

    Raises RepositoryNotFoundException.
    """
    repository = repositories.find(tx, call, repository_name)
    found: list[FoundImage] = []
    failures: list[Failure] = []
    for image_id in dict.fromkeys(image_ids):
        image = _resolve(tx, repository, image_id)
        if isinstance(image, Failure):
            failures.append(image)
        elif image.status != "ACTIVE":
            failures.append(Failure(image_id, "ImageInaccessible", "Requested image is archived"))
        elif accepted_media_types and image.media_type not in accepted_media_types:
            failures.append(not_there(image_id))
        else:
            found.append(FoundImage(ImageId(image.digest, image_id.tag), image, tx.images.manifest(image.id)))
    try:
        repositories.key_name(call, repository)
    except errors.KmsException as error:
        failures += [Failure(each.image_id, "KmsError", error.message) for each in found]
        found = []
    return found, failures


async def note_pulls(emulator: Emulator, call: Call, images: Iterable[Image]) -> None:
    """Record that images are being pulled.

    Not where that was done within the last 24 hours, nor where the caller is excluded from it. A pull
    does not fail where its time can't be recorded, as on a full disk.
    """
    stale = [image.id for image in images if pull_noted_until(image) <= call.now]
    if not stale:
        return
    try:
        await emulator.metadata.write_lazily(_record_pulls, call, stale)
    except Exception:
        _logger.exception("pull times could not be recorded", extra={"request_id": call.request_id})


def pull_noted_until(image: Image) -> float:
    """Return up to when no pull of an image is recorded again, in seconds since 1970."""
    return -math.inf if image.last_pulled_at is None else image.last_pulled_at + PULL_TIME_INTERVAL


def _record_pulls(tx: Transaction, call: Call, image_ids: Collection[int]) -> None:
    if pull_time_exclusions.is_excluded(tx, call):
        return
    for image_id in image_ids:
        tx.images.set_pulled(image_id, call.now)


def batch_delete(
    tx: Transaction, call: Call, repository_name: str, image_ids: Iterable[ImageId]
) -> tuple[list[ImageId], list[Failure]]:
    """Delete images by digest with all their tags, by tag only that tag or, the last one, the image.

    An image that an index names stays, unless that index is deleted by the same call. Returns
    what was deleted, an entry for each tag. Raises RepositoryNotFoundException.
    """
    repository = repositories.find(tx, call, repository_name)
    deleted: list[ImageId] = []
    failures: list[Failure] = []
    waiting = list(dict.fromkeys(image_ids))
    # An index has to go before its children, whatever the order in which they are named.
    while waiting:
        blocked: list[ImageId] = []
        blocked_failures: list[Failure] = []
        for image_id in waiting:
            outcome = _delete(tx, call, repository, image_id)
            if not isinstance(outcome, Failure):
                deleted += outcome
            elif outcome.code == "ImageReferencedByManifestList":
                blocked.append(image_id)
                blocked_failures.append(outcome)
            else:
                failures.append(outcome)
        if len(blocked) == len(waiting):
            failures += blocked_failures
            break
        waiting = blocked
    return deleted, failures


def _delete(
    tx: Transaction, call: Call, repository: Repository, image_id: ImageId
) -> list[ImageId] | Failure:
    image = _resolve(tx, repository, image_id)
    if isinstance(image, Failure):
        return image
    tags = tx.tags.of_image(image.id)
    if image_id.tag is not None and tags != [image_id.tag]:
        remove_tag(tx, call, repository, image, image_id.tag)
        return [ImageId(image.digest, image_id.tag)]
    if indexes := tx.images.referring_indexes(repository.id, image.digest):
        return Failure(
            image_id,
            "ImageReferencedByManifestList",
            f"Requested image referenced by manifest list: [{', '.join(indexes)}]",
        )
    remove(tx, call, repository, image)
    return [ImageId(image.digest, tag) for tag in tags] or [ImageId(image.digest)]


def remove(
    tx: Transaction, call: Call, repository: Repository, image: Image, *, replicated: bool = False
) -> None:
    """Remove an image that no index names, with all its tags, and tell of it."""
    tags = tx.tags.of_image(image.id)
    tx.layers.forget(repository.id, named_layers(tx, image), was_active=image.status == "ACTIVE")
    tx.images.delete(image.id)
    # Once it is pulled again, so are its referrers, which may have been deleted with it.
    tx.upstream_referrers.delete(repository.id, image.digest)
    deletions.announce(tx, call, Deletion(repository, image, None, tags, replicated))


def remove_tag(
    tx: Transaction, call: Call, repository: Repository, image: Image, tag: str, *, replicated: bool = False
) -> None:
    """Remove one of several tags of an image, and tell of it."""
    tx.tags.delete(repository.id, tag)
    deletions.announce(tx, call, Deletion(repository, image, tag, [tag], replicated))


def describe(
    tx: Transaction, call: Call, repository_name: str, image_ids: Sequence[ImageId]
) -> list[TaggedImage]:
    """Return the images named with their tags, each once.

    Raises RepositoryNotFoundException, ImageNotFoundException for the first that is not there, and
    InvalidParameterException for an id with neither digest nor tag.
    """
    repository = repositories.find(tx, call, repository_name)
    images = {image.id: image for image in (resolve(tx, repository, image_id) for image_id in image_ids)}
    return _described(tx, call, repository, images.values())


def describe_page(
    tx: Transaction, call: Call, repository_name: str, wanted: ImageFilter, after: int, limit: int
) -> list[TaggedImage]:
    """Return a page of a repository's images, past the image with the id ``after``.

    Raises RepositoryNotFoundException.
    """
    repository = repositories.find(tx, call, repository_name)
    return _described(tx, call, repository, tx.images.page(repository.id, wanted, after, limit))


def _described(
    tx: Transaction, call: Call, repository: Repository, images: Collection[Image]
) -> list[TaggedImage]:
    names = tx.tags.of_images([image.id for image in images])
    scans = scanning.shown_with_images(tx, call, repository, images)
    return [TaggedImage(image, names[image.id], scans.get(image.id)) for image in images]


def list_page(
    tx: Transaction,
    call: Call,
    repository_name: str,
    wanted: ImageFilter,
    after: tuple[int, str],
    limit: int,
) -> list[tuple[int, str, str | None]]:
    """Return a page of (image id, digest, tag), one for each tag and each untagged image.

    Raises RepositoryNotFoundException.
    """
    repository = repositories.find(tx, call, repository_name)
    return tx.images.page_of_identifiers(repository.id, wanted, after, limit)


def list_tags(tx: Transaction, call: Call, repository_name: str, after: str, limit: int) -> list[str]:
    """Return a page of a repository's tags by name. Raises RepositoryNotFoundException."""
    return tx.tags.page(repositories.find(tx, call, repository_name).id, after, limit)


def referrers(
    tx: Transaction,
    call: Call,
    repository_name: str,
    subject_digest: str,
    wanted: ReferrerFilter,
    after: int,
    limit: int,
) -> list[Image]:
    """Return a page of the images whose subject is a digest, past the image with the id ``after``.

    The subject itself need not be there. Raises RepositoryNotFoundException.
    """
    repository = repositories.find(tx, call, repository_name)
    return tx.images.referrers(repository.id, subject_digest, wanted, after, limit)
