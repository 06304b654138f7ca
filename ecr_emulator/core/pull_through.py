"""Pull-through cache rules: which repositories cache those of which upstream registry.

The supported registries are those of CreatePullThroughCacheRule's documentation; which of them need
credentials is in the ECR user guide, "Sync an upstream registry with an Amazon ECR private registry".
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from msgspec import Struct
from msgspec.structs import replace

from ecr_emulator.core import errors
from ecr_emulator.core.call import Call
from ecr_emulator.core.emulator import Emulator
from ecr_emulator.core.prefixes import ROOT, closest, prefixes_of
from ecr_emulator.core.registry import Registry
from ecr_emulator.core.roles import check_role
from ecr_emulator.metadata.pull_through import PullThroughRule
from ecr_emulator.metadata.store import Transaction

# ECR's service quota.
MAX_RULES = 50

_ECR_HOST = re.compile(r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?")
_AZURE_HOST = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*\.azurecr\.(io|us|cn)")
_KINDS = {
    "public.ecr.aws": "ecr-public",
    "quay.io": "quay",
    "registry.k8s.io": "k8s",
    "registry-1.docker.io": "docker-hub",
    "ghcr.io": "github-container-registry",
    "registry.gitlab.com": "gitlab-container-registry",
    "cgr.dev": "chainguard",
}
_WITHOUT_CREDENTIALS = ("ecr-public", "quay", "k8s")


def kind_of(host: str) -> str | None:
    """Return the API's name for the kind of an upstream registry, or None for one that ECR does not know."""
    if _ECR_HOST.fullmatch(host):
        return "ecr"
    if _AZURE_HOST.fullmatch(host):
        return "azure-container-registry"
    return _KINDS.get(host)


def ecr_registry(host: str) -> Registry | None:
    """Return the private ECR registry that is on a host, or None for a host of anything else."""
    match = _ECR_HOST.fullmatch(host)
    return None if match is None else Registry(match["account"], match["region"])


def upstream_name(rule: PullThroughRule, name: str) -> str:
    """Return the upstream's name for a repository that is below the rule's prefix."""
    rest = name if rule.prefix == ROOT else name.removeprefix(f"{rule.prefix}/")
    return rest if rule.upstream_prefix == ROOT else f"{rule.upstream_prefix}/{rest}"


class NewRule(Struct, frozen=True, kw_only=True):
    """A rule as it is asked for; prefixes are without a slash at their end."""

    prefix: str
    upstream_host: str
    upstream_registry: str | None = None
    upstream_prefix: str | None = None
    credential_arn: str | None = None
    custom_role_arn: str | None = None


def check(call: Call, wanted: NewRule) -> PullThroughRule:
    """Return the rule that is asked for.

    Raises UnsupportedUpstreamRegistryException for a registry that ECR does not know and for one
    that needs credentials where none are given, and InvalidParameterException.
    """
    kind = kind_of(wanted.upstream_host)
    if kind is None or wanted.upstream_registry not in (None, kind):
        raise errors.UnsupportedUpstreamRegistryException(
            f"The upstream registry URL {wanted.upstream_host} is invalid. Specify a valid upstream registry "
            "URL and try again"
        )
    check_role(wanted.custom_role_arn, call.registry)
    upstream = ecr_registry(wanted.upstream_host)
    if upstream is None:
        if wanted.credential_arn is None and kind not in _WITHOUT_CREDENTIALS:
            raise errors.UnsupportedUpstreamRegistryException(
                "The specified upstream registry requires authentication. Specify a valid Secrets Manager "
                "ARN containing the upstream registry credentials."
            )
    elif upstream.account != call.registry.account and wanted.custom_role_arn is None:
        raise errors.UnsupportedUpstreamRegistryException(
            "The specified upstream registry requires authentication. Specify the ARN of a role that can "
            "access the upstream registry."
        )
    if wanted.prefix == ROOT and wanted.upstream_prefix not in (None, ROOT):
        raise errors.InvalidParameterException(
            "Invalid parameter at 'upstreamRepositoryPrefix' failed to satisfy constraint: "
            "'must be ROOT when ecrRepositoryPrefix is ROOT'"
        )
    return PullThroughRule(
        prefix=wanted.prefix,
        upstream_host=wanted.upstream_host,
        upstream_registry=kind,
        upstream_prefix=wanted.upstream_prefix or ROOT,
        credential_arn=wanted.credential_arn,
        custom_role_arn=wanted.custom_role_arn,
        created_at=call.now,
        updated_at=call.now,
    )


async def create(emulator: Emulator, call: Call, wanted: NewRule) -> PullThroughRule:
    """Add a rule.

    Raises what ``check`` raises, SecretNotFound-, UnableToAccessSecret- and UnableToDecryptSecretValue-
    Exception, PullThroughCacheRuleAlreadyExistsException and LimitExceededException.
    """
    rule = check(call, wanted)
    if rule.credential_arn is not None:
        await emulator.secrets.get(rule.credential_arn, call.registry)
    return await emulator.metadata.write(_insert, call, rule)


def _insert(tx: Transaction, call: Call, rule: PullThroughRule) -> PullThroughRule:
    account, region = call.registry.account, call.registry.region
    if tx.pull_through_rules.get(account, region, rule.prefix) is not None:
        raise errors.PullThroughCacheRuleAlreadyExistsException(
            f"The pull through cache rule with prefix '{rule.prefix}' already exists in the registry with id "
            f"'{account}'"
        )
    if tx.pull_through_rules.count(account, region) >= MAX_RULES:
        raise errors.LimitExceededException(
            f"The registry with id '{account}' already has the maximum number of {MAX_RULES} pull through "
            "cache rules"
        )
    tx.pull_through_rules.put(account, region, rule)
    return rule


def find(tx: Transaction, call: Call, prefix: str) -> PullThroughRule:
    """Return the rule of a prefix. Raises PullThroughCacheRuleNotFoundException."""
    rule = tx.pull_through_rules.get(call.registry.account, call.registry.region, prefix)
    if rule is None:
        raise errors.PullThroughCacheRuleNotFoundException(
            f"The pull through cache rule with prefix '{prefix}' does not exist in the registry with id "
            f"'{call.registry.account}'"
        )
    return rule


def rule_for(tx: Transaction, call: Call, name: str) -> PullThroughRule | None:
    """Return the rule that a repository is cached by: of those above it the one of the longest prefix."""
    candidates = prefixes_of(name)
    rules = tx.pull_through_rules.page(
        call.registry.account, call.registry.region, candidates, "", len(candidates)
    )
    return closest(rules, name)


def describe(
    tx: Transaction, call: Call, prefixes: Collection[str] | None, after: str, limit: int
) -> Sequence[PullThroughRule]:
    """Return a page of the registry's rules by prefix, of all or of those named.

    Raises PullThroughCacheRuleNotFoundException for the first prefix that has none.
    """
    for prefix in prefixes or ():
        find(tx, call, prefix)
    return tx.pull_through_rules.page(call.registry.account, call.registry.region, prefixes, after, limit)


async def update(
    emulator: Emulator, call: Call, prefix: str, credential_arn: str | None, custom_role_arn: str | None
) -> PullThroughRule:
    """Set the secret or the role of a rule, or both; None leaves it as it is.

    Raises InvalidParameterException, also where neither is given (ECR's text as in
    https://github.com/pulumi/pulumi-aws/issues/5714), PullThroughCacheRuleNotFound-, SecretNotFound-,
    UnableToAccessSecret- and UnableToDecryptSecretValueException.
    """
    if credential_arn is None and custom_role_arn is None:
        raise errors.InvalidParameterException(
            "Invalid input: Please set either credential arn or role arn to update the credentials"
        )
    check_role(custom_role_arn, call.registry)
    await emulator.metadata.peek(find, call, prefix)
    if credential_arn is not None:
        await emulator.secrets.get(credential_arn, call.registry)
    return await emulator.metadata.write(_update, call, prefix, credential_arn, custom_role_arn)


def _update(
    tx: Transaction, call: Call, prefix: str, credential_arn: str | None, custom_role_arn: str | None
) -> PullThroughRule:
    rule = find(tx, call, prefix)
    rule = replace(
        rule,
        credential_arn=credential_arn or rule.credential_arn,
        custom_role_arn=custom_role_arn or rule.custom_role_arn,
        updated_at=call.now,
    )
    tx.pull_through_rules.put(call.registry.account, call.registry.region, rule)
    return rule


def delete(tx: Transaction, call: Call, prefix: str) -> PullThroughRule:
    """Remove a rule and return it; what it cached stays. Raises PullThroughCacheRuleNotFoundException."""
    rule = find(tx, call, prefix)
    tx.pull_through_rules.delete(call.registry.account, call.registry.region, prefix)
    return rule
