"""Repositories: creating, finding and removing them, their tags and their tag mutability."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ecr_emulator.core import authorization, errors, scanning
from ecr_emulator.core.authorization import Access
from ecr_emulator.core.call import Call
from ecr_emulator.core.names import matches_wildcard
from ecr_emulator.core.policies import validate_repository_policy
from ecr_emulator.core.registry import Registry
from ecr_emulator.metadata.repositories import Repository
from ecr_emulator.metadata.store import Transaction

MAX_TAGS = 50
MAX_TAG_KEY = 128
MAX_TAG_VALUE = 256
MAX_WILDCARDS = 2
# Seconds within which ECR evaluates a lifecycle policy, and does so again.
LIFECYCLE_INTERVAL = 24 * 3600.0

_ARN = re.compile(
    r"arn:(?P<partition>[^:]*):ecr:(?P<region>[^:]*):(?P<account>[^:]*):repository/(?P<name>.+)"
)
_TAG_TEXT = re.compile(r"[\w\s.:/=+\-@]*")


def find(tx: Transaction, call: Call, name: str) -> Repository:
    """Return a repository of the call's registry. Raises RepositoryNotFoundException."""
    registry = call.registry
    repository = tx.repositories.get(registry.account, registry.region, name)
    if repository is None:
        raise not_found(name, registry.account)
    return repository


def not_found(name: str, account: str) -> errors.RepositoryNotFoundException:
    """Return ECR's error for a repository that is not there."""
    return errors.RepositoryNotFoundException(
        f"The repository with name '{name}' does not exist in the registry with id '{account}'"
    )


def create(
    tx: Transaction,
    call: Call,
    name: str,
    *,
    tag_mutability: str = "MUTABLE",
    tag_exclusions: Sequence[str] = (),
    scan_on_push: bool = False,
    encryption_type: str = "AES256",
    kms_key: str | None = None,
    tags: Mapping[str, str] | None = None,
    created_at: float | None = None,
) -> Repository:
    """Create a repository. One that has been created before comes back with that time, and is not told of.

    Raises RepositoryAlreadyExistsException, InvalidParameterException for settings that do not
    fit together, InvalidTagParameterException, TooManyTagsException, KmsException for a key that there is
    not, and LimitExceededException where the registry is full.
    """
    registry = call.registry
    check_mutability(tag_mutability, tag_exclusions)
    if tags:
        check_tags(tags)
    check_encryption(encryption_type, kms_key)
    if tx.repositories.get(registry.account, registry.region, name) is not None:
        raise errors.RepositoryAlreadyExistsException(
            f"The repository with name '{name}' already exists in the registry with id '{registry.account}'"
        )
    limit = call.quotas["registered_repositories"]
    if tx.repositories.are_at_least(registry.account, registry.region, limit):
        raise errors.LimitExceededException(
            f"The registry with id '{registry.account}' already has the maximum allowed number of "
            f"repositories which is '{limit}'"
        )
    if encryption_type != "AES256" and kms_key is None:
        kms_key = f"arn:{registry.partition}:kms:{registry.region}:{registry.account}:alias/aws/ecr"
    call.encryption.key_name(registry, encryption_type, kms_key)
    repository = tx.repositories.insert(
        account=registry.account,
        region=registry.region,
        name=name,
        created_at=call.now if created_at is None else created_at,
        tag_mutability=tag_mutability,
        tag_exclusions=tag_exclusions,
        scan_on_push=scan_on_push,
        encryption_type=encryption_type,
        kms_key=kms_key,
    )
    if tags:
        tx.repositories.put_tags(repository.id, tags)
    if created_at is None:
        scanning.on_creation(tx, repository, call.now)
    return repository


def describe(
    tx: Transaction, call: Call, names: Sequence[str] | None, after: str, limit: int
) -> list[Repository]:
    """Return the repositories named, in that order, or else a page of all, by name.

    Raises RepositoryNotFoundException for the first name that is not there.
    """
    if names is not None:
        return [find(tx, call, name) for name in dict.fromkeys(names)]
    return tx.repositories.page(call.registry.account, call.registry.region, after, limit)


def delete(tx: Transaction, call: Call, name: str, *, force: bool) -> Repository:
    """Remove a repository, with its images only where ``force`` is set.

    Raises RepositoryNotFoundException, RepositoryNotEmptyException and, since ECR has to retire its grants
    on the repository's key, KmsException.
    """
    repository = find(tx, call, name)
    key_name(call, repository)
    if not force and tx.images.exist(repository.id):
        raise errors.RepositoryNotEmptyException(
            f"The repository with name '{name}' in registry with id '{call.registry.account}' "
            "cannot be deleted because it still contains images"
        )
    tx.repositories.delete(repository.id)
    return repository


def key_name(call: Call, repository: Repository) -> str:
    """Return the name of the key for what comes into a repository, '' for none. Raises KmsException."""
    registry = Registry(repository.account, repository.region)
    return call.encryption.key_name(registry, repository.encryption_type, repository.kms_key)


def set_mutability(
    tx: Transaction, call: Call, name: str, mutability: str, exclusions: Sequence[str]
) -> None:
    """Set which tags can be overwritten.

    Raises RepositoryNotFoundException, and InvalidParameterException for exclusion filters that
    do not fit the mutability.
    """
    repository = find(tx, call, name)
    check_mutability(mutability, exclusions)
    tx.repositories.set_mutability(repository.id, mutability, exclusions)


def set_scan_on_push(tx: Transaction, call: Call, name: str, scan_on_push: bool) -> None:
    """Set whether a push sets off a basic scan. Raises RepositoryNotFoundException."""
    tx.repositories.set_scan_on_push(find(tx, call, name).id, scan_on_push)


def is_immutable(repository: Repository, tag: str) -> bool:
    """Tell whether a tag that exists may not be moved to another image.

    The filters of the ``_WITH_EXCLUSION`` modes name the tags that the mode does not hold for.
    """
    excluded = any(matches_wildcard(pattern, tag) for pattern in repository.tag_exclusions)
    return repository.tag_mutability.startswith("IMMUTABLE") != excluded


def read_arn(call: Call, arn: str) -> tuple[Registry, str]:
    """Return the registry and the name that a repository's ARN has.

    Raises InvalidParameterException for a text that is no ARN of a repository in the call's region.
    """
    match = _ARN.fullmatch(arn)
    registry = call.registry
    if match is None or (match["partition"], match["region"]) != (registry.partition, registry.region):
        raise errors.InvalidParameterException(
            "Invalid parameter at 'resourceArn' failed to satisfy constraint: 'Invalid ARN'"
        )
    return Registry(match["account"], registry.region), match["name"]


def find_by_arn(tx: Transaction, call: Call, arn: str) -> Repository:
    """Return the repository that an ARN names.

    Raises InvalidParameterException for a text that is no ARN of a repository here, and
    RepositoryNotFoundException.
    """
    registry, name = read_arn(call, arn)
    repository = tx.repositories.get(registry.account, registry.region, name)
    if repository is None:
        raise not_found(name, registry.account)
    return repository


def tag(tx: Transaction, call: Call, arn: str, tags: Mapping[str, str]) -> None:
    """Add tags to a repository, or replace their values.

    Raises RepositoryNotFoundException, InvalidTagParameterException, and TooManyTagsException
    where it would have more than 50.
    """
    repository = find_by_arn(tx, call, arn)
    check_tags(tags)
    if len(tx.repositories.tags(repository.id).keys() | tags.keys()) > MAX_TAGS:
        raise errors.TooManyTagsException(
            f"The repository with name '{repository.name}' in the registry with id "
            f"'{repository.account}' already has the maximum number of {MAX_TAGS} tags"
        )
    tx.repositories.put_tags(repository.id, tags)


def untag(tx: Transaction, call: Call, arn: str, keys: Sequence[str]) -> None:
    """Remove tags from a repository.

    Raises RepositoryNotFoundException and, of keys that no tags can have or more than there can be,
    InvalidTagParameter- and TooManyTagsException.
    """
    repository = find_by_arn(tx, call, arn)
    check_tags(dict.fromkeys(keys, ""))
    tx.repositories.delete_tags(repository.id, keys)


def list_tags(tx: Transaction, call: Call, arn: str) -> dict[str, str]:
    """Return a repository's tags. Raises RepositoryNotFoundException."""
    return tx.repositories.tags(find_by_arn(tx, call, arn).id)


def check_mutability(mutability: str, exclusions: Sequence[str]) -> None:
    """Check that exclusion filters are given for the modes with exclusion, and only for them.

    Raises InvalidParameterException.
    """
    if mutability.endswith("_WITH_EXCLUSION") != bool(exclusions):
        wanted = "must be" if exclusions else "can't be"
        raise errors.InvalidParameterException(
            "Invalid parameter at 'imageTagMutabilityExclusionFilters' failed to satisfy constraint: "
            f"'ImageTagMutabilityExclusionFilters {wanted} null when imageTagMutability is set as "
            f"{mutability}'"
        )
    for pattern in exclusions:
        if pattern.count("*") > MAX_WILDCARDS:
            raise errors.InvalidParameterException(
                "Invalid parameter at 'imageTagMutabilityExclusionFilters' failed to satisfy constraint: "
                f"'filter {pattern} must have at most {MAX_WILDCARDS} wildcards'"
            )


def check_encryption(encryption_type: str, kms_key: str | None) -> None:
    """Check that a key is given only for KMS. Raises InvalidParameterException."""
    if encryption_type == "AES256" and kms_key is not None:
        raise errors.InvalidParameterException(
            "Invalid parameter at 'encryptionConfiguration' failed to satisfy constraint: "
            "'KMS key must not be specified for encryption type AES256'"
        )


def check_tags(tags: Mapping[str, str]) -> None:
    """Check a resource's tags. Raises InvalidTagParameterException and TooManyTagsException."""
    if len(tags) > MAX_TAGS:
        raise errors.TooManyTagsException(f"A repository can have at most {MAX_TAGS} tags, not {len(tags)}")
    for key, value in tags.items():
        if not 1 <= len(key) <= MAX_TAG_KEY or len(value) > MAX_TAG_VALUE:
            raise errors.InvalidTagParameterException(
                f"Tag keys must have 1 to {MAX_TAG_KEY} characters and tag values at most {MAX_TAG_VALUE}"
            )
        if key.lower().startswith("aws:"):
            raise errors.InvalidTagParameterException("Tag keys that begin with 'aws:' are reserved")
        if not (_TAG_TEXT.fullmatch(key) and _TAG_TEXT.fullmatch(value)):
            raise errors.InvalidTagParameterException(
                "Tags can have letters, digits, spaces and the characters _ . : / = + - @"
            )


def set_policy(tx: Transaction, call: Call, name: str, text: str, *, force: bool = False) -> None:
    """Set the repository policy.

    Raises RepositoryNotFoundException, and InvalidParameterException for a text that is no policy or
    that, unless it is forced, would keep the caller from setting another.
    """
    repository = find(tx, call, name)
    validate_repository_policy(text)
    again = Access("ecr:SetRepositoryPolicy", call.registry, name)
    if not force and not authorization.decide(tx, call, again, repository_policy=text).allowed:
        raise errors.InvalidParameterException(
            "Invalid parameter at 'PolicyText' failed to satisfy constraint: 'The policy would prevent you "
            "from setting another policy in the future; force the operation to set it anyway'"
        )
    tx.repositories.set_policy(repository.id, text)


def get_policy(tx: Transaction, call: Call, name: str) -> str:
    """Return the repository policy. Raises RepositoryNotFound- and RepositoryPolicyNotFoundException."""
    text = find(tx, call, name).policy_text
    if text is None:
        raise errors.RepositoryPolicyNotFoundException(
            f"Repository policy does not exist for the repository with name '{name}' in the registry with "
            f"id '{call.registry.account}'"
        )
    return text


def delete_policy(tx: Transaction, call: Call, name: str) -> str:
    """Remove the repository policy and return its text. Raises what ``get_policy`` raises."""
    text = get_policy(tx, call, name)
    tx.repositories.set_policy(find(tx, call, name).id, None)
    return text


def set_lifecycle_policy(tx: Transaction, call: Call, name: str, text: str) -> None:
    """Set a lifecycle policy, whose text was parsed before. Raises RepositoryNotFoundException."""
    tx.repositories.set_lifecycle_policy(find(tx, call, name).id, text, call.now + LIFECYCLE_INTERVAL)


def get_lifecycle_policy(tx: Transaction, call: Call, name: str) -> tuple[str, float | None]:
    """Return the lifecycle policy and when it was last evaluated, in seconds since 1970.

    Raises RepositoryNotFoundException and LifecyclePolicyNotFoundException.
    """
    repository = find(tx, call, name)
    if repository.lifecycle_policy_text is None:
        raise errors.LifecyclePolicyNotFoundException(
            f"Lifecycle policy does not exist for the repository with name '{name}' in the registry with "
            f"id '{call.registry.account}'"
        )
    return repository.lifecycle_policy_text, repository.lifecycle_evaluated_at


def delete_lifecycle_policy(tx: Transaction, call: Call, name: str) -> tuple[str, float | None]:
    """Remove the lifecycle policy and return it. Raises what ``get_lifecycle_policy`` raises."""
    policy = get_lifecycle_policy(tx, call, name)
    tx.repositories.delete_lifecycle_policy(find(tx, call, name).id)
    return policy
