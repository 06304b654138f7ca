"""Repository creation templates: their rules, and the repositories that ECR creates by them.

The rules are those of the ECR user guide, "Templates to control repositories created during a pull
through cache, create on push, or replication action".
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from msgspec.structs import replace

from ecr_emulator.core import authorization, errors, lifecycle, repositories
from ecr_emulator.core.authorization import Access
from ecr_emulator.core.call import Call
from ecr_emulator.core.policies import validate_repository_policy
from ecr_emulator.core.prefixes import closest, prefixes_of
from ecr_emulator.core.roles import check_role
from ecr_emulator.metadata.repositories import Repository
from ecr_emulator.metadata.store import Transaction
from ecr_emulator.metadata.templates import CreationTemplate


class Case(enum.StrEnum):
    """Why ECR creates a repository, by the API's names."""

    PULL_THROUGH_CACHE = "PULL_THROUGH_CACHE"
    REPLICATION = "REPLICATION"
    CREATE_ON_PUSH = "CREATE_ON_PUSH"


def choose(templates: Iterable[CreationTemplate], name: str, case: Case) -> CreationTemplate | None:
    """Return the template for a new repository: of those for the case, the one of the longest prefix."""
    return closest((template for template in templates if case in template.applied_for), name)


def find_or_create(tx: Transaction, call: Call, name: str, case: Case) -> Repository:
    """Return a repository of the call's registry, created where there is none.

    What the template for the case says is applied; without one a push creates nothing, and the
    pull-through cache and replication create a repository with ECR's defaults. Raises
    RepositoryNotFoundException where none is created, also by a template with resource tags or KMS
    encryption that names no role: ECR needs one for these. Raises AccessDeniedException for a push by
    a caller who may not create repositories.
    """
    registry = call.registry
    if repository := tx.repositories.get(registry.account, registry.region, name):
        return repository
    candidates = prefixes_of(name)
    template = choose(
        tx.creation_templates.page(registry.account, registry.region, candidates, "", len(candidates)),
        name,
        case,
    )
    if template is None and case != Case.CREATE_ON_PUSH:
        return repositories.create(tx, call, name)
    if template is None or (_needs_role(template) and template.custom_role_arn is None):
        raise repositories.not_found(name, registry.account)
    if case == Case.CREATE_ON_PUSH:
        authorization.authorize(tx, call, Access("ecr:CreateRepository", registry, name))
    repositories.create(
        tx,
        call,
        name,
        tag_mutability=template.tag_mutability,
        tag_exclusions=template.tag_exclusions,
        encryption_type=template.encryption_type,
        kms_key=template.kms_key,
        tags=template.resource_tags,
    )
    if template.repository_policy is not None:
        repositories.set_policy(tx, call, name, template.repository_policy, force=True)
    if template.lifecycle_policy is not None:
        repositories.set_lifecycle_policy(tx, call, name, template.lifecycle_policy)
    return repositories.find(tx, call, name)


def _needs_role(template: CreationTemplate) -> bool:
    return bool(template.resource_tags) or template.encryption_type != "AES256"


def new(call: Call, prefix: str, changes: dict[str, Any]) -> CreationTemplate:
    """Return a template with ECR's defaults but for ``changes``. Raises what ``changed`` raises."""
    template = CreationTemplate(
        prefix=prefix,
        description=None,
        encryption_type="AES256",
        kms_key=None,
        resource_tags={},
        tag_mutability="MUTABLE",
        tag_exclusions=(),
        repository_policy=None,
        lifecycle_policy=None,
        applied_for=(),
        custom_role_arn=None,
        created_at=call.now,
        updated_at=call.now,
    )
    return changed(call, template, changes)


def changed(call: Call, template: CreationTemplate, changes: dict[str, Any]) -> CreationTemplate:
    """Return a template with other values for some of its fields, all of which are checked.

    Raises InvalidParameterException.
    """
    if "tag_mutability" in changes and not changes["tag_mutability"].endswith("_WITH_EXCLUSION"):
        changes = {"tag_exclusions": (), **changes}
    template = replace(template, **changes, updated_at=call.now)
    if not template.applied_for:
        raise errors.InvalidParameterException(
            "Invalid parameter at 'appliedFor' failed to satisfy constraint: 'must not be empty'"
        )
    repositories.check_mutability(template.tag_mutability, template.tag_exclusions)
    repositories.check_encryption(template.encryption_type, template.kms_key)
    check_role(template.custom_role_arn, call.registry)
    try:
        repositories.check_tags(template.resource_tags)
    except (errors.InvalidTagParameterException, errors.TooManyTagsException) as error:
        raise errors.InvalidParameterException(
            f"Invalid parameter at 'resourceTags' failed to satisfy constraint: '{error.message}'"
        ) from None
    return template


def check_policies(changes: dict[str, Any]) -> None:
    """Check the policy texts among the fields of a template. Raises InvalidParameterException.

    Apart from ``changed``, since the first lifecycle policy loads the validator of a schema.
    """
    if changes.get("repository_policy") is not None:
        validate_repository_policy(changes["repository_policy"])
    if changes.get("lifecycle_policy") is not None:
        lifecycle.parse(changes["lifecycle_policy"])


def create(tx: Transaction, call: Call, prefix: str, changes: dict[str, Any]) -> CreationTemplate:
    """Add a template. Raises TemplateAlreadyExists- and InvalidParameterException."""
    registry = call.registry
    template = new(call, prefix, changes)
    if tx.creation_templates.get(registry.account, registry.region, prefix) is not None:
        raise errors.TemplateAlreadyExistsException(
            f"The repository creation template with prefix '{prefix}' already exists in the registry with "
            f"id '{registry.account}'"
        )
    tx.creation_templates.put(registry.account, registry.region, template)
    return template


def find(tx: Transaction, call: Call, prefix: str) -> CreationTemplate:
    """Return the template of a prefix. Raises TemplateNotFoundException."""
    registry = call.registry
    template = tx.creation_templates.get(registry.account, registry.region, prefix)
    if template is None:
        raise errors.TemplateNotFoundException(
            f"The repository creation template with prefix '{prefix}' does not exist in the registry with "
            f"id '{registry.account}'"
        )
    return template


def describe(
    tx: Transaction, call: Call, prefixes: Collection[str] | None, after: str, limit: int
) -> Sequence[CreationTemplate]:
    """Return a page of the registry's templates by prefix, of all or of those prefixes that have one."""
    return tx.creation_templates.page(call.registry.account, call.registry.region, prefixes, after, limit)


def update(tx: Transaction, call: Call, prefix: str, changes: dict[str, Any]) -> CreationTemplate:
    """Change a template; what is not among the changes stays.

    Raises TemplateNotFound- and InvalidParameterException.
    """
    template = changed(call, find(tx, call, prefix), changes)
    tx.creation_templates.put(call.registry.account, call.registry.region, template)
    return template


def delete(tx: Transaction, call: Call, prefix: str) -> CreationTemplate:
    """Remove a template and return it. Raises TemplateNotFoundException."""
    template = find(tx, call, prefix)
    tx.creation_templates.delete(call.registry.account, call.registry.region, prefix)
    return template
