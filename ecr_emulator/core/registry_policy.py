"""The policy of a registry, which says what other accounts may do there."""

from __future__ import annotations

from msgspec.structs import replace

from ecr_emulator.core import account_settings, errors
from ecr_emulator.core.call import Call
from ecr_emulator.core.policies import validate_registry_policy
from ecr_emulator.core.registry import Registry
from ecr_emulator.metadata.store import Transaction

_VALUE = "registry-policy"
_V1_ACTIONS = ("ecr:ReplicateImage", "ecr:BatchImportUpstreamImage", "ecr:CreateRepository")


def find(tx: Transaction, registry: Registry) -> str | None:
    """Return a registry's policy text, if it has one."""
    return tx.registry_values.get(registry.account, registry.region, _VALUE)


def find_for(tx: Transaction, call: Call, registry: Registry, action: str) -> str | None:
    """Return a registry's policy, if it has one and its scope has the action.

    Version 1 of the scope has three actions, also where the policy says ``ecr:*`` (ECR user guide,
    Private registry permissions).
    """
    text = find(tx, registry)
    if text is None or action in _V1_ACTIONS:
        return text
    scope = account_settings.get(tx, replace(call, registry=registry), "REGISTRY_POLICY_SCOPE")
    return text if scope == "V2" else None


def put(tx: Transaction, call: Call, text: str) -> None:
    """Set the registry's policy. Raises InvalidParameterException."""
    validate_registry_policy(text, account_settings.get(tx, call, "REGISTRY_POLICY_SCOPE"))
    tx.registry_values.put(call.registry.account, call.registry.region, _VALUE, text)


def get(tx: Transaction, call: Call) -> str:
    """Return the registry's policy. Raises RegistryPolicyNotFoundException."""
    text = find(tx, call.registry)
    if text is None:
        raise errors.RegistryPolicyNotFoundException(
            f"Registry policy does not exist in the registry with id '{call.registry.account}'"
        )
    return text


def delete(tx: Transaction, call: Call) -> str:
    """Remove the registry's policy and return its text. Raises RegistryPolicyNotFoundException."""
    text = get(tx, call)
    tx.registry_values.delete(call.registry.account, call.registry.region, _VALUE)
    return text
