"""Operations on pull-through cache rules."""

from __future__ import annotations

from ecr_emulator.control.operations import Input, Output
from ecr_emulator.control.paging import next_token, page_limit, split_page, start_of_page
from ecr_emulator.core import pull_through, pulls
from ecr_emulator.core.call import Call
from ecr_emulator.core.emulator import Emulator
from ecr_emulator.core.prefixes import normalize
from ecr_emulator.core.pull_through import NewRule
from ecr_emulator.metadata.pull_through import PullThroughRule


def _describe(call: Call, rule: PullThroughRule, *without: str) -> Output:
    """Return the members of a rule, but for those that an operation does not answer with."""
    whole = {
        "ecrRepositoryPrefix": rule.prefix,
        "upstreamRegistryUrl": rule.upstream_host,
        "createdAt": rule.created_at,
        "registryId": call.registry.account,
        "upstreamRegistry": rule.upstream_registry,
        "credentialArn": rule.credential_arn,
        "customRoleArn": rule.custom_role_arn,
        "upstreamRepositoryPrefix": rule.upstream_prefix,
        "updatedAt": rule.updated_at,
    }
    return {member: value for member, value in whole.items() if member not in without}


def _prefix(given: Input) -> str:
    return normalize(given["ecrRepositoryPrefix"])


async def create_pull_through_cache_rule(emulator: Emulator, call: Call, given: Input) -> Output:
    """Cache the repositories of an upstream registry below a prefix."""
    upstream_prefix = given.get("upstreamRepositoryPrefix")
    wanted = NewRule(
        prefix=_prefix(given),
        upstream_host=given["upstreamRegistryUrl"],
        upstream_registry=given.get("upstreamRegistry"),
        upstream_prefix=None if upstream_prefix is None else normalize(upstream_prefix),
        credential_arn=given.get("credentialArn"),
        custom_role_arn=given.get("customRoleArn"),
    )
    return _describe(call, await pull_through.create(emulator, call, wanted), "updatedAt")


async def describe_pull_through_cache_rules(emulator: Emulator, call: Call, given: Input) -> Output:
    """Describe a page of the registry's rules, or of those of some prefixes."""
    limit = page_limit(given)
    named = given.get("ecrRepositoryPrefixes")
    prefixes = None if named is None else [normalize(prefix) for prefix in named]
    list_name = f"pull-through-rules:{prefixes}"
    after = start_of_page(emulator, call, list_name, given, "")
    found = await emulator.metadata.read(pull_through.describe, call, prefixes, after, limit + 1)
    page, last = split_page(found, limit)
    return {
        "pullThroughCacheRules": [_describe(call, rule) for rule in page],
        "nextToken": last and next_token(emulator, call, list_name, last.prefix),
    }


async def update_pull_through_cache_rule(emulator: Emulator, call: Call, given: Input) -> Output:
    """Set the secret or the role with which a rule's upstream is asked."""
    rule = await pull_through.update(
        emulator, call, _prefix(given), given.get("credentialArn"), given.get("customRoleArn")
    )
    return _describe(call, rule, "upstreamRegistryUrl", "upstreamRegistry", "createdAt")


async def delete_pull_through_cache_rule(emulator: Emulator, call: Call, given: Input) -> Output:
    """Delete a rule; what it cached stays."""
    rule = await emulator.metadata.write(pull_through.delete, call, _prefix(given))
    return _describe(call, rule, "upstreamRegistry", "updatedAt")


async def validate_pull_through_cache_rule(emulator: Emulator, call: Call, given: Input) -> Output:
    """Tell whether a rule's upstream can be reached and takes the credentials."""
    rule, failure = await pulls.validate_rule(emulator, call, _prefix(given))
    described = _describe(call, rule, "upstreamRegistry", "createdAt", "updatedAt")
    return {**described, "isValid": failure is None, "failure": failure}
