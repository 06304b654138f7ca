"""Operations on repositories."""

from __future__ import annotations

from ecr_emulator.control.operations import Input, Output, lasting
from ecr_emulator.control.paging import next_token, page_limit, split_page, start_of_page
from ecr_emulator.core import errors, repositories
from ecr_emulator.core.call import Call
from ecr_emulator.core.emulator import Emulator
from ecr_emulator.core.registry import Registry
from ecr_emulator.metadata.repositories import Repository


def _describe(call: Call, repository: Repository) -> Output:
    registry = Registry(repository.account, repository.region)
    encryption = {"encryptionType": repository.encryption_type, "kmsKey": repository.kms_key}
    return {
        "repositoryArn": registry.repository_arn(repository.name),
        "registryId": repository.account,
        "repositoryName": repository.name,
        "repositoryUri": f"{call.endpoint_of(registry)}/{repository.name}",
        "createdAt": repository.created_at,
        "imageTagMutability": repository.tag_mutability,
        "imageTagMutabilityExclusionFilters": filters(repository.tag_exclusions),
        "imageScanningConfiguration": {"scanOnPush": repository.scan_on_push},
        "encryptionConfiguration": encryption,
    }


def filters(exclusions: tuple[str, ...]) -> list[dict[str, str]] | None:
    """Return the API's form of exclusion filters."""
    return [{"filterType": "WILDCARD", "filter": pattern} for pattern in exclusions] or None


def patterns(given: Input) -> tuple[str, ...]:
    """Return the exclusion filters of a request."""
    return tuple(entry["filter"] for entry in given.get("imageTagMutabilityExclusionFilters", ()))


async def create_repository(emulator: Emulator, call: Call, given: Input) -> Output:
    """Create a repository."""
    encryption = given.get("encryptionConfiguration", {})
    repository = await emulator.metadata.write_briefly(
        repositories.create,
        call,
        given["repositoryName"],
        tag_mutability=given.get("imageTagMutability", "MUTABLE"),
        tag_exclusions=patterns(given),
        scan_on_push=given.get("imageScanningConfiguration", {}).get("scanOnPush", False),
        encryption_type=encryption.get("encryptionType", "AES256"),
        kms_key=encryption.get("kmsKey"),
        tags={tag["Key"]: tag["Value"] for tag in given.get("tags", ())},
    )
    return {"repository": _describe(call, repository)}


@lasting
async def describe_repositories(emulator: Emulator, call: Call, given: Input) -> Output:
    """Describe the repositories named, or a page of all by name."""
    names = given.get("repositoryNames")
    if names is not None and ("maxResults" in given or "nextToken" in given):
        raise errors.InvalidParameterException(
            "Invalid parameter at 'repositoryNames' failed to satisfy constraint: "
            "'maxResults and nextToken must not be used with repositoryNames'"
        )
    limit = page_limit(given)
    after = start_of_page(emulator, call, "repositories", given, "")
    found = await emulator.metadata.peek(repositories.describe, call, names, after, limit + 1)
    page, last = (found, None) if names is not None else split_page(found, limit)
    return {
        "repositories": [_describe(call, repository) for repository in page],
        "nextToken": last and next_token(emulator, call, "repositories", last.name),
    }


async def delete_repository(emulator: Emulator, call: Call, given: Input) -> Output:
    """Delete a repository, with its images where ``force`` is set."""
    repository = await emulator.metadata.write(
        repositories.delete, call, given["repositoryName"], force=given.get("force", False)
    )
    description = _describe(call, repository)
    # DeleteRepository answers without the settings of what is gone (its example in botocore).
    return {
        "repository": {
            member: description[member]
            for member in (
                "repositoryArn",
                "registryId",
                "repositoryName",
                "repositoryUri",
                "createdAt",
                "imageTagMutability",
            )
        }
    }


async def put_image_tag_mutability(emulator: Emulator, call: Call, given: Input) -> Output:
    """Set which tags of a repository can be overwritten."""
    name, mutability, exclusions = given["repositoryName"], given["imageTagMutability"], patterns(given)
    await emulator.metadata.write(repositories.set_mutability, call, name, mutability, exclusions)
    return {
        "registryId": call.registry.account,
        "repositoryName": name,
        "imageTagMutability": mutability,
        "imageTagMutabilityExclusionFilters": filters(exclusions),
    }
