"""Replication: a registry's rules, and what pushes and deletions leave to be copied by them.

A rule copies what is pushed after it, to each of its destinations; deletions only where it says so (ECR
user guide, "Private image replication" and "Replicating image deletions"). What replication itself
brings to a registry goes no further. The copying is in ``core/replicas.py``, which this module, called
by every push, does not know.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ecr_emulator.core import errors
from ecr_emulator.core.call import Call
from ecr_emulator.core.registry import Registry
from ecr_emulator.metadata.store import Transaction

if TYPE_CHECKING:
    from ecr_emulator.core.deletions import Deletion
    from ecr_emulator.core.pushes import Push

ENGINE = "replication"
# ECR's service quota, which is on the destinations of all rules together.
MAX_DESTINATIONS = 25
_VALUE = "replication"

Rule = Mapping[str, Any]


def configure(tx: Transaction, call: Call, rules: Sequence[Rule]) -> None:
    """Set a registry's rules, which have the form of the API's; none of them ends replication.

    Raises InvalidParameterException for a destination that is the registry itself or is in another
    partition, and for too many destinations.
    """
    targets = {destination for rule in rules for destination in destinations_of(rule)}
    if call.registry in targets:
        raise _invalid("Replication destination cannot be the same as the source registry")
    if any(destination.partition != call.registry.partition for destination in targets):
        raise _invalid("Replication destination cannot be in another partition than the source registry")
    if len(targets) > MAX_DESTINATIONS:
        raise _invalid(f"Replication configuration can have at most {MAX_DESTINATIONS} unique destinations")
    tx.registry_values.put(
        call.registry.account, call.registry.region, _VALUE, json.dumps([dict(rule) for rule in rules])
    )


def _invalid(constraint: str) -> errors.InvalidParameterException:
    return errors.InvalidParameterException(
        f"Invalid parameter at 'replicationConfiguration' failed to satisfy constraint: '{constraint}'"
    )


def rules_of(tx: Transaction, registry: Registry) -> list[Rule]:
    """Return a registry's rules in the form of the API's."""
    text = tx.registry_values.get(registry.account, registry.region, _VALUE)
    rules: list[Rule] = [] if text is None else json.loads(text)
    return rules


def destinations(
    rules: Sequence[Rule], repository_name: str, *, of_deletions: bool = False
) -> list[Registry]:
    """Return where the images of a repository are copied, each registry once.

    With ``of_deletions`` only by rules that replicate deletions.
    """
    found = (
        destination
        for rule in rules
        if _selects(rule, repository_name) and (not of_deletions or _replicates_deletions(rule))
        for destination in destinations_of(rule)
    )
    return list(dict.fromkeys(found))


def destinations_of(rule: Rule) -> list[Registry]:
    """Return the destinations of one rule."""
    return [Registry(entry["registryId"], entry["region"]) for entry in rule["destinations"]]


def _selects(rule: Rule, repository_name: str) -> bool:
    """Tell whether a rule is about a repository: any of its prefixes fits, or it has none."""
    filters = rule.get("repositoryFilters")
    return not filters or any(repository_name.startswith(entry["filter"]) for entry in filters)


def _replicates_deletions(rule: Rule) -> bool:
    return bool(rule.get("deleteReplication", {}).get("enabled", False))


def on_push(tx: Transaction, call: Call, push: Push) -> None:
    """Leave the copies of what was pushed, one for each destination."""
    if push.origin == "replication":
        return
    repository = push.repository
    for destination in destinations(rules_of(tx, call.registry), repository.name):
        tx.replications.put(push.image.id, destination.account, destination.region, push.tag, "IN_PROGRESS")
        _add_task(tx, call, "copy", repository.name, push.image.digest, push.tag, destination)


def on_deletion(tx: Transaction, call: Call, deletion: Deletion) -> None:
    """Leave the deletion to the destinations of the rules that replicate deletions."""
    if deletion.replicated:
        return
    name = deletion.repository.name
    for destination in destinations(rules_of(tx, call.registry), name, of_deletions=True):
        _add_task(tx, call, "delete", name, deletion.image.digest, deletion.tag, destination)


def _add_task(
    tx: Transaction,
    call: Call,
    what: str,
    repository_name: str,
    digest: str,
    tag: str | None,
    destination: Registry,
) -> None:
    payload = {
        "do": what,
        "repository": repository_name,
        "digest": digest,
        "tag": tag,
        "account": destination.account,
        "region": destination.region,
    }
    tx.tasks.add(ENGINE, call.registry.account, call.registry.region, payload)
