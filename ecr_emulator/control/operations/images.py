"""Operations on images."""

from __future__ import annotations

from ecr_emulator.control.operations import Input, Output, lasting
from ecr_emulator.control.operations.scanning import scan_status, scan_summary
from ecr_emulator.control.paging import next_token, page_limit, split_page, start_of_page
from ecr_emulator.core import archive, errors, images, manifest, pulls
from ecr_emulator.core.call import Call
from ecr_emulator.core.emulator import Emulator
from ecr_emulator.core.images import Failure, FoundImage, ImageId, TaggedImage
from ecr_emulator.metadata.images import ImageFilter


def _image_id(given: Input) -> ImageId:
    return ImageId(given.get("imageDigest"), given.get("imageTag"))


def _identifier(image_id: ImageId) -> Output:
    return {"imageDigest": image_id.digest, "imageTag": image_id.tag}


def _filter(given: Input) -> ImageFilter:
    wanted = given.get("filter", {})
    # Without a filter only active images are shown (documentation of imageStatus).
    return ImageFilter(wanted.get("tagStatus", "ANY"), wanted.get("imageStatus", "ACTIVE"))


def _failure(failure: Failure) -> Output:
    return {
        "imageId": _identifier(failure.image_id),
        "failureCode": failure.code,
        "failureReason": failure.reason,
    }


def _image(call: Call, repository_name: str, found: FoundImage) -> Output:
    return {
        "registryId": call.registry.account,
        "repositoryName": repository_name,
        "imageId": _identifier(found.image_id),
        "imageManifest": found.manifest.decode(),
        "imageManifestMediaType": found.image.media_type,
    }


async def put_image(emulator: Emulator, call: Call, given: Input) -> Output:
    """Store an image's manifest and point a tag at it."""
    content, tag = given["imageManifest"].encode(), given.get("imageTag")
    expected = given.get("imageDigest")
    algorithm = "sha512" if expected is not None and expected.startswith("sha512:") else "sha256"
    parsed = manifest.parse(content, given.get("imageManifestMediaType"), algorithm)
    image = await emulator.metadata.write_briefly(
        images.put,
        call,
        given["repositoryName"],
        parsed,
        tag,
        expected_digest=expected,
        check_references=emulator.settings.layer_check == "strict",
    )
    found = FoundImage(ImageId(image.digest, tag), image, content)
    return {"image": _image(call, given["repositoryName"], found)}


async def batch_get_image(emulator: Emulator, call: Call, given: Input) -> Output:
    """Return images with their manifests, as a pull does."""
    found, failures = await pulls.batch_get_images(
        emulator,
        call,
        given["repositoryName"],
        [_image_id(entry) for entry in given["imageIds"]],
        given.get("acceptedMediaTypes"),
    )
    await images.note_pulls(emulator, call, [entry.image for entry in found])
    return {
        "images": [_image(call, given["repositoryName"], entry) for entry in found],
        "failures": [_failure(failure) for failure in failures],
    }


async def batch_delete_image(emulator: Emulator, call: Call, given: Input) -> Output:
    """Delete images and tags."""
    deleted, failures = await emulator.metadata.write(
        images.batch_delete,
        call,
        given["repositoryName"],
        [_image_id(entry) for entry in given["imageIds"]],
    )
    return {
        "imageIds": [_identifier(image_id) for image_id in deleted],
        "failures": [_failure(failure) for failure in failures],
    }


async def update_image_storage_class(emulator: Emulator, call: Call, given: Input) -> Output:
    """Archive an image, or begin to restore it."""
    name, target = given["repositoryName"], given["targetStorageClass"]
    image_id = _image_id(given["imageId"])
    image = await emulator.metadata.write(archive.update_storage_class, call, name, image_id, target)
    return {
        "registryId": call.registry.account,
        "repositoryName": name,
        "imageId": _identifier(ImageId(image.digest, image_id.tag)),
        "imageStatus": image.status,
    }


@lasting
async def list_images(emulator: Emulator, call: Call, given: Input) -> Output:
    """List a page of a repository's image identifiers, one for each tag."""
    name, limit = given["repositoryName"], page_limit(given)
    wanted = _filter(given)
    list_name = f"image-ids:{name}:{wanted}"
    after = start_of_page(emulator, call, list_name, given, (0, ""))
    listed = await emulator.metadata.read(images.list_page, call, name, wanted, after, limit + 1)
    page, last = split_page(listed, limit)
    return {
        "imageIds": [{"imageDigest": digest, "imageTag": tag} for _, digest, tag in page],
        "nextToken": last and next_token(emulator, call, list_name, (last[0], last[2] or "")),
    }


async def describe_images(emulator: Emulator, call: Call, given: Input) -> Output:
    """Describe the images named, or a page of a repository's."""
    name, limit = given["repositoryName"], page_limit(given)
    if "imageIds" in given:
        if "maxResults" in given or "nextToken" in given:
            raise errors.InvalidParameterException(
                "Invalid parameter at 'imageIds' failed to satisfy constraint: "
                "'maxResults and nextToken must not be used with imageIds'"
            )
        image_ids = [_image_id(entry) for entry in given["imageIds"]]
        named = await emulator.metadata.read(images.describe, call, name, image_ids)
        return {"imageDetails": [_detail(call, name, entry) for entry in named]}
    wanted = _filter(given)
    list_name = f"images:{name}:{wanted}"
    after = start_of_page(emulator, call, list_name, given, 0)
    found = await emulator.metadata.read(images.describe_page, call, name, wanted, after, limit + 1)
    page, last = split_page(found, limit)
    return {
        "imageDetails": [_detail(call, name, entry) for entry in page],
        "nextToken": last and next_token(emulator, call, list_name, last.image.id),
    }


def _detail(call: Call, repository_name: str, entry: TaggedImage) -> Output:
    image = entry.image
    return {
        "registryId": call.registry.account,
        "repositoryName": repository_name,
        "imageDigest": image.digest,
        "imageTags": entry.tags or None,
        "imageSizeInBytes": image.size,
        "imagePushedAt": image.pushed_at,
        "imageManifestMediaType": image.media_type,
        "artifactMediaType": image.artifact_type,
        "lastRecordedPullTime": image.last_pulled_at,
        "subjectManifestDigest": image.subject_digest,
        "imageScanStatus": entry.scan and scan_status(entry.scan),
        "imageScanFindingsSummary": entry.scan and scan_summary(entry.scan),
        "imageStatus": image.status,
        "lastArchivedAt": image.last_archived_at,
        "lastActivatedAt": image.last_activated_at,
    }
