"""The operation on the referrers of an image."""

from __future__ import annotations

from ecr_emulator.blobs.base import is_digest
from ecr_emulator.control.operations import Input, Output
from ecr_emulator.control.paging import next_token, page_limit, split_page, start_of_page
from ecr_emulator.core import errors, pulls
from ecr_emulator.core.call import Call
from ecr_emulator.core.emulator import Emulator
from ecr_emulator.core.upstream import UpstreamError
from ecr_emulator.metadata.images import Image, ReferrerFilter

# The documentation of maxResults: up to 20 results where it is not used.
_DEFAULT_LIMIT = 20


async def list_image_referrers(emulator: Emulator, call: Call, given: Input) -> Output:
    """List a page of the artifacts whose subject is a digest, as the referrers API does."""
    name, subject = given["repositoryName"], given["subjectId"]["imageDigest"]
    if not is_digest(subject):
        raise errors.InvalidParameterException(
            "Invalid parameter at 'subjectId.imageDigest' failed to satisfy constraint: "
            "'must satisfy regular expression '[a-zA-Z0-9-_+.]+:[a-fA-F0-9]+''"
        )
    wanted, limit = _filter(given), page_limit(given, _DEFAULT_LIMIT)
    list_name = f"referrers:{name}:{subject}:{wanted}"
    after = start_of_page(emulator, call, list_name, given, 0)
    try:
        found = await pulls.list_referrers(emulator, call, name, subject, wanted, after, limit + 1)
    except (UpstreamError, errors.LimitExceededException) as error:
        raise errors.UnableToListUpstreamImageReferrersException(error.message) from error
    page, last = split_page(found, limit)
    return {
        "referrers": [_describe(image) for image in page],
        "nextToken": last and next_token(emulator, call, list_name, last.id),
    }


def _filter(given: Input) -> ReferrerFilter:
    wanted = given.get("filter", {})
    types = wanted.get("artifactTypes")
    # Without a filter only active artifacts are shown (documentation of filter).
    return ReferrerFilter(tuple(types) if types else None, wanted.get("artifactStatus", "ACTIVE"))


def _describe(image: Image) -> Output:
    return {
        "digest": image.digest,
        "mediaType": image.media_type,
        "artifactType": image.artifact_type,
        "size": image.manifest_size,
        "annotations": image.read_annotations() or None,
        "artifactStatus": image.status,
    }
