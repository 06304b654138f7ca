"""Operations on repository creation templates."""

from __future__ import annotations

import asyncio
from typing import Any

from ecr_emulator.control.operations import Input, Output
from ecr_emulator.control.operations.repositories import filters, patterns
from ecr_emulator.control.paging import next_token, page_limit, split_page, start_of_page
from ecr_emulator.core import templates
from ecr_emulator.core.call import Call
from ecr_emulator.core.emulator import Emulator
from ecr_emulator.core.prefixes import normalize
from ecr_emulator.metadata.templates import CreationTemplate

# Members that are a template's fields as they stand, where an empty text stands for none.
_TEXTS = {
    "description": "description",
    "repositoryPolicy": "repository_policy",
    "lifecyclePolicy": "lifecycle_policy",
    "customRoleArn": "custom_role_arn",
}


def _changes(given: Input) -> dict[str, Any]:
    """Return the fields of a template that a request names."""
    changes: dict[str, Any] = {
        field: given[member] or None for member, field in _TEXTS.items() if member in given
    }
    if encryption := given.get("encryptionConfiguration"):
        changes["encryption_type"] = encryption["encryptionType"]
        changes["kms_key"] = encryption.get("kmsKey") or None
    if "resourceTags" in given:
        changes["resource_tags"] = {tag["Key"]: tag["Value"] for tag in given["resourceTags"]}
    if "imageTagMutability" in given:
        changes["tag_mutability"] = given["imageTagMutability"]
    if "imageTagMutabilityExclusionFilters" in given:
        changes["tag_exclusions"] = patterns(given)
    if "appliedFor" in given:
        changes["applied_for"] = tuple(dict.fromkeys(given["appliedFor"]))
    return changes


def _describe(template: CreationTemplate) -> Output:
    return {
        "prefix": template.prefix,
        "description": template.description,
        "encryptionConfiguration": {"encryptionType": template.encryption_type, "kmsKey": template.kms_key},
        "resourceTags": [{"Key": key, "Value": value} for key, value in template.resource_tags.items()],
        "imageTagMutability": template.tag_mutability,
        "imageTagMutabilityExclusionFilters": filters(template.tag_exclusions),
        "repositoryPolicy": template.repository_policy,
        "lifecyclePolicy": template.lifecycle_policy,
        "appliedFor": list(template.applied_for),
        "customRoleArn": template.custom_role_arn,
        "createdAt": template.created_at,
        "updatedAt": template.updated_at,
    }


def _answer(call: Call, template: CreationTemplate) -> Output:
    return {"registryId": call.registry.account, "repositoryCreationTemplate": _describe(template)}


async def create_repository_creation_template(emulator: Emulator, call: Call, given: Input) -> Output:
    """Create a template for the repositories below a prefix."""
    changes = _changes(given)
    # Off the event loop, since the first lifecycle policy loads the schema's validator.
    await asyncio.to_thread(templates.check_policies, changes)
    prefix = normalize(given["prefix"])
    return _answer(call, await emulator.metadata.write(templates.create, call, prefix, changes))


async def describe_repository_creation_templates(emulator: Emulator, call: Call, given: Input) -> Output:
    """Describe a page of the registry's templates, or of those of some prefixes."""
    limit = page_limit(given)
    prefixes = [normalize(prefix) for prefix in given["prefixes"]] if "prefixes" in given else None
    list_name = f"creation-templates:{prefixes}"
    after = start_of_page(emulator, call, list_name, given, "")
    found = await emulator.metadata.read(templates.describe, call, prefixes, after, limit + 1)
    page, last = split_page(found, limit)
    return {
        "registryId": call.registry.account,
        "repositoryCreationTemplates": [_describe(template) for template in page],
        "nextToken": last and next_token(emulator, call, list_name, last.prefix),
    }


async def update_repository_creation_template(emulator: Emulator, call: Call, given: Input) -> Output:
    """Change a template; what the request does not name stays."""
    changes = _changes(given)
    await asyncio.to_thread(templates.check_policies, changes)
    prefix = normalize(given["prefix"])
    return _answer(call, await emulator.metadata.write(templates.update, call, prefix, changes))


async def delete_repository_creation_template(emulator: Emulator, call: Call, given: Input) -> Output:
    """Delete a template; repositories that were created by it stay as they are."""
    prefix = normalize(given["prefix"])
    return _answer(call, await emulator.metadata.write(templates.delete, call, prefix))
