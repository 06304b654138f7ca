"""Descriptions of registries and repositories, as data: what ``export`` writes and ``seed`` brings about.

``specs/registry.json`` is their schema. What a description does not name stays as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import date, datetime, time
from functools import cache
from importlib import import_module, resources
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec.structs import asdict, replace

from ecr_emulator.core import (
    account_settings,
    errors,
    lifecycle,
    pull_through,
    pull_time_exclusions,
    registry_policy,
    replication,
    repositories,
    scanning,
    signing,
    templates,
)
from ecr_emulator.core.call import Call
from ecr_emulator.core.emulator import StoresError
from ecr_emulator.core.prefixes import normalize
from ecr_emulator.core.pull_through import NewRule
from ecr_emulator.core.registry import Registry
from ecr_emulator.metadata.pull_through import PullThroughRule
from ecr_emulator.metadata.repositories import Repository
from ecr_emulator.metadata.store import Transaction
from ecr_emulator.metadata.templates import CreationTemplate

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator

Description = dict[str, Any]
T = TypeVar("T")

# Rows of a registry that are read at a time.
_PAGE = 500
# Problems of a description that are told at once.
_MOST = 10
_IDENTIFIER = re.compile(r"[A-Za-z_][\w-]*")


class DescriptionError(StoresError):
    """A description is not one, or can't be brought about; the message says where in it."""


def validate(document: Any, definition: str | None = None) -> None:
    """Check a description against the schema, or against one of its definitions. Raises DescriptionError."""
    problems = list(_validator(definition).iter_errors(document))
    if problems:
        problems.sort(key=lambda problem: [str(step) for step in problem.absolute_path])
        best_match = import_module("jsonschema.exceptions").best_match
        lines = [_line(best_match([problem])) for problem in problems[:_MOST]]
        raise DescriptionError("\n".join(lines))


@cache
def _validator(definition: str | None) -> Draft202012Validator:
    # Imported here: a server that is not seeded needs no validator.
    jsonschema = import_module("jsonschema")
    schema = json.loads(resources.files("ecr_emulator.specs").joinpath("registry.json").read_text())
    if definition is not None:
        schema = {"$defs": schema["$defs"], "$ref": f"#/$defs/{definition}"}
    validator: Draft202012Validator = jsonschema.Draft202012Validator(schema)
    return validator


def _line(problem: Any) -> str:
    path = path_of(problem.absolute_path)
    return f"{path}: {problem.message}" if path else str(problem.message)


def path_of(steps: Any) -> str:
    """Return the path of something in a document, as in ``repositories[0].images[2].tags``."""
    path = ""
    for step in steps:
        if isinstance(step, int):
            path += f"[{step}]"
        else:
            path += ("." if path else "") + (step if _IDENTIFIER.fullmatch(step) else json.dumps(step))
    return path


def plain(value: Any) -> Any:
    """Return a document of TOML as one of JSON: its times become texts."""
    if isinstance(value, dict):
        return {key: plain(member) for key, member in value.items()}
    if isinstance(value, list):
        return [plain(member) for member in value]
    return value.isoformat() if isinstance(value, datetime | date | time) else value


def of_registry(tx: Transaction, call: Call) -> Description:
    """Describe a registry without its repositories, and without any secret."""
    configuration = scanning.configuration(tx, call.registry)
    described = {
        "account": call.registry.account,
        "region": call.registry.region,
        "policy": registry_policy.find(tx, call.registry),
        "account_settings": {name: account_settings.get(tx, call, name) for name in account_settings.VALUES},
        "replication": replication.rules_of(tx, call.registry),
        "scanning": {
            "type": configuration.scan_type,
            "rules": [
                {"frequency": rule.frequency, "filters": list(rule.filters)} for rule in configuration.rules
            ],
        },
        "signing": _signing_rules(tx, call),
        "creation_templates": [
            _without_none(asdict(template))
            for template in _all(lambda after: templates.describe(tx, call, None, after, _PAGE), _prefix)
        ],
        "pull_through_rules": [
            _without_none(asdict(rule))
            for rule in _all(lambda after: pull_through.describe(tx, call, None, after, _PAGE), _prefix)
        ],
        "pull_time_exclusions": pull_time_exclusions.list_page(
            tx, call, "", pull_time_exclusions.MAX_EXCLUSIONS
        ),
    }
    return _without_none(described)


def _signing_rules(tx: Transaction, call: Call) -> list[Any] | None:
    try:
        rules: list[Any] = signing.get_configuration(tx, call)["rules"]
    except errors.SigningConfigurationNotFoundException:
        return None
    return rules


def _prefix(row: CreationTemplate | PullThroughRule) -> str:
    return row.prefix


def _all(page: Callable[[str], Any], key: Callable[[T], str]) -> Iterator[T]:
    """Give the rows of all pages."""
    after = ""
    while rows := page(after):
        after = key(rows[-1])
        yield from rows


def _without_none(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def of_repository(tx: Transaction, repository: Repository) -> Description:
    """Describe a repository without its images."""
    return _without_none(
        {
            "name": repository.name,
            "created_at": repository.created_at,
            "tag_mutability": repository.tag_mutability,
            "tag_exclusions": list(repository.tag_exclusions),
            "scan_on_push": repository.scan_on_push,
            "encryption_type": repository.encryption_type,
            "kms_key": repository.kms_key,
            "tags": tx.repositories.tags(repository.id),
            "policy": repository.policy_text,
            "lifecycle_policy": repository.lifecycle_policy_text,
            "lifecycle_evaluated_at": repository.lifecycle_evaluated_at,
        }
    )


def prepare(described: Description) -> None:
    """Load what it takes to check lifecycle policies, which is too much for a transaction.

    Raises DescriptionError for one that is none.
    """
    for policy in (
        described.get("lifecycle_policy"),
        *(template.get("lifecycle_policy") for template in described.get("creation_templates", ())),
    ):
        if policy is not None:
            try:
                lifecycle.parse(text_of(policy))
            except errors.EcrError as error:
                raise DescriptionError(f"lifecycle_policy: {error.message}") from None


def text_of(policy: Any) -> str:
    """Return the text of a policy, which a description has as a text or as a document."""
    return policy if isinstance(policy, str) else json.dumps(policy)


def apply_registry(tx: Transaction, call: Call, described: Description) -> None:
    """Bring a registry to its description, but for repositories.

    Raises what the operations raise that set these things.
    """
    for name, value in described.get("account_settings", {}).items():
        account_settings.put(tx, call, name, value)
    if "policy" in described:
        registry_policy.put(tx, call, text_of(described["policy"]))
    if "replication" in described:
        replication.configure(tx, call, described["replication"])
    if "scanning" in described:
        rules = described["scanning"].get("rules", ())
        wanted = scanning.Configuration(
            described["scanning"]["type"],
            tuple(scanning.Rule(rule["frequency"], tuple(rule["filters"])) for rule in rules),
        )
        if wanted != scanning.configuration(tx, call.registry):
            scanning.configure(tx, call, wanted)
    if "signing" in described:
        signing.put_configuration(tx, call, {"rules": described["signing"]})
    for template in described.get("creation_templates", ()):
        _apply_template(tx, call, template)
    for rule in described.get("pull_through_rules", ()):
        _apply_rule(tx, call, rule)
    for principal in described.get("pull_time_exclusions", ()):
        if principal not in pull_time_exclusions.list_page(tx, call, "", pull_time_exclusions.MAX_EXCLUSIONS):
            pull_time_exclusions.register(tx, call, principal)


def _apply_template(tx: Transaction, call: Call, described: Description) -> None:
    changes = {
        name: value for name, value in described.items() if name not in ("prefix", "created_at", "updated_at")
    }
    for name in ("tag_exclusions", "applied_for"):
        if name in changes:
            changes[name] = tuple(changes[name])
    for name in ("repository_policy", "lifecycle_policy"):
        if name in changes:
            changes[name] = text_of(changes[name])
    templates.check_policies(changes)
    prefix, registry = normalize(described["prefix"]), call.registry
    template = templates.new(call, prefix, changes)
    known = tx.creation_templates.get(registry.account, registry.region, prefix)
    if known is not None:
        template = replace(template, created_at=known.created_at)
    template = replace(
        template,
        created_at=described.get("created_at", template.created_at),
        updated_at=described.get("updated_at", template.updated_at),
    )
    tx.creation_templates.put(registry.account, registry.region, template)


def _apply_rule(tx: Transaction, call: Call, described: Description) -> None:
    wanted = NewRule(
        prefix=normalize(described["prefix"]),
        upstream_host=described["upstream_host"],
        upstream_registry=described.get("upstream_registry"),
        upstream_prefix=described.get("upstream_prefix"),
        credential_arn=described.get("credential_arn"),
        custom_role_arn=described.get("custom_role_arn"),
    )
    rule = pull_through.check(call, wanted)
    known = tx.pull_through_rules.get(call.registry.account, call.registry.region, rule.prefix)
    if known is not None:
        rule = replace(rule, created_at=known.created_at)
    rule = replace(
        rule,
        created_at=described.get("created_at", rule.created_at),
        updated_at=described.get("updated_at", rule.updated_at),
    )
    tx.pull_through_rules.put(call.registry.account, call.registry.region, rule)


def apply_repository(tx: Transaction, call: Call, described: Description) -> Repository:
    """Bring a repository to its description, but for images, and return it.

    Encryption and time of creation are those of the first time. Raises what the operations raise that
    create repositories and set these things.
    """
    name, registry = described["name"], call.registry
    mutability = {name: described[name] for name in ("tag_mutability", "tag_exclusions") if name in described}
    repository = tx.repositories.get(registry.account, registry.region, name)
    if repository is None:
        settings = ("encryption_type", "kms_key", "created_at")
        given = {key: described[key] for key in settings if key in described}
        repository = repositories.create(tx, call, name, **mutability, **given)
    elif mutability:
        repositories.set_mutability(
            tx,
            call,
            name,
            described.get("tag_mutability", repository.tag_mutability),
            described.get("tag_exclusions", ()),
        )
    if "scan_on_push" in described:
        tx.repositories.set_scan_on_push(repository.id, described["scan_on_push"])
    if described.get("tags"):
        repositories.tag(tx, call, registry.repository_arn(name), described["tags"])
    if "policy" in described:
        repositories.set_policy(tx, call, name, text_of(described["policy"]), force=True)
    if "lifecycle_policy" in described:
        text = text_of(described["lifecycle_policy"])
        if text != repository.lifecycle_policy_text:
            repositories.set_lifecycle_policy(tx, call, name, text)
        if (evaluated_at := described.get("lifecycle_evaluated_at")) is not None:
            due_at = evaluated_at + repositories.LIFECYCLE_INTERVAL
            tx.repositories.set_lifecycle_evaluated(repository.id, evaluated_at, due_at)
    return repositories.find(tx, call, name)


def remapped(described: Any, source: Registry, target: Registry) -> Any:
    """Return a description for another registry: ARNs in it of the one it was of are the other's."""
    text = json.dumps(described, ensure_ascii=False)
    text = text.replace(f":{source.region}:{source.account}:", f":{target.region}:{target.account}:")
    return json.loads(text.replace(f"::{source.account}:", f"::{target.account}:"))
