"""Operations on lifecycle policies."""

from __future__ import annotations

import asyncio

from ecr_emulator.control.operations import Input, Output, lasting
from ecr_emulator.control.paging import next_token, page_limit, split_page, start_of_page
from ecr_emulator.core import errors, lifecycle, lifecycle_previews, repositories
from ecr_emulator.core.call import Call
from ecr_emulator.core.emulator import Emulator
from ecr_emulator.core.images import ImageId
from ecr_emulator.core.lifecycle_previews import PreviewedImage, PreviewPage


def _describe(call: Call, given: Input, policy: tuple[str, float | None]) -> Output:
    return {
        "registryId": call.registry.account,
        "repositoryName": given["repositoryName"],
        "lifecyclePolicyText": policy[0],
        "lastEvaluatedAt": policy[1],
    }


async def put_lifecycle_policy(emulator: Emulator, call: Call, given: Input) -> Output:
    """Set a repository's lifecycle policy."""
    name, text = given["repositoryName"], given["lifecyclePolicyText"]
    # Off the event loop, since the first policy loads the schema's validator.
    await asyncio.to_thread(lifecycle.parse, text)
    await emulator.metadata.write(repositories.set_lifecycle_policy, call, name, text)
    return {
        "registryId": call.registry.account,
        "repositoryName": name,
        "lifecyclePolicyText": text,
    }


@lasting
async def get_lifecycle_policy(emulator: Emulator, call: Call, given: Input) -> Output:
    """Return a repository's lifecycle policy."""
    policy = await emulator.metadata.read(repositories.get_lifecycle_policy, call, given["repositoryName"])
    return _describe(call, given, policy)


async def delete_lifecycle_policy(emulator: Emulator, call: Call, given: Input) -> Output:
    """Remove a repository's lifecycle policy."""
    policy = await emulator.metadata.write(
        repositories.delete_lifecycle_policy, call, given["repositoryName"]
    )
    return _describe(call, given, policy)


async def start_lifecycle_policy_preview(emulator: Emulator, call: Call, given: Input) -> Output:
    """Begin to find out what a lifecycle policy would do."""
    name, text = given["repositoryName"], given.get("lifecyclePolicyText")
    if text is not None:
        await asyncio.to_thread(lifecycle.parse, text)
    return {
        "registryId": call.registry.account,
        "repositoryName": name,
        "lifecyclePolicyText": await emulator.metadata.write(lifecycle_previews.start, call, name, text),
        "status": "IN_PROGRESS",
    }


async def get_lifecycle_policy_preview(emulator: Emulator, call: Call, given: Input) -> Output:
    """Return a page of what a lifecycle policy would do, or what it would do to the images named."""
    name, limit = given["repositoryName"], page_limit(given)
    image_ids = None
    if "imageIds" in given:
        if "maxResults" in given or "nextToken" in given:
            raise errors.InvalidParameterException(
                "Invalid parameter at 'imageIds' failed to satisfy constraint: "
                "'maxResults and nextToken must not be used with imageIds'"
            )
        image_ids = [ImageId(entry.get("imageDigest"), entry.get("imageTag")) for entry in given["imageIds"]]
    tag_status = given.get("filter", {}).get("tagStatus", "ANY")
    list_name = f"lifecycle-policy-preview:{name}:{tag_status}"
    after = start_of_page(emulator, call, list_name, given, 0)
    preview = await emulator.metadata.read(
        lifecycle_previews.get, call, name, tag_status, image_ids, after, limit + 1
    )
    page, last = (preview.images, None) if image_ids is not None else split_page(preview.images, limit)
    return {
        "registryId": call.registry.account,
        "repositoryName": name,
        "lifecyclePolicyText": preview.policy_text,
        "status": preview.status,
        "previewResults": [_previewed(image) for image in page],
        "summary": _summary(preview) if preview.status == "COMPLETE" else None,
        "nextToken": last and next_token(emulator, call, list_name, last.result.position),
    }


def _previewed(image: PreviewedImage) -> Output:
    result = image.result
    return {
        "imageTags": image.tags or None,
        "imageDigest": result.digest,
        "imagePushedAt": result.pushed_at,
        "action": {"type": result.action, "targetStorageClass": result.target_storage_class},
        "appliedRulePriority": result.rule_priority,
        "storageClass": result.storage_class,
    }


def _summary(preview: PreviewPage) -> Output:
    transitioning = {"targetStorageClass": "ARCHIVE", "imageTotalCount": preview.transitioning}
    return {
        "expiringImageTotalCount": preview.expiring,
        "transitioningImageTotalCounts": [transitioning] if preview.transitioning else None,
    }
