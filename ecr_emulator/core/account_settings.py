"""Account settings: switches that an account has in each region."""

from __future__ import annotations

from ecr_emulator.core import errors
from ecr_emulator.core.call import Call
from ecr_emulator.metadata.store import Transaction

# Values by name, the default first (documentation of PutAccountSetting; user guide, Private registry
# permissions). V1 is what registries of before 2025 began with. CLAIR ended on 2 February 2026.
VALUES = {
    "BASIC_SCAN_TYPE_VERSION": ("AWS_NATIVE",),
    "BLOB_MOUNTING": ("DISABLED", "ENABLED"),
    "REGISTRY_POLICY_SCOPE": ("V2", "V1"),
}


def get(tx: Transaction, call: Call, name: str) -> str:
    """Return a setting's value. Raises InvalidParameterException for a name that is none."""
    default = _values(name)[0]
    return tx.registry_values.get(call.registry.account, call.registry.region, _key(name)) or default


def put(tx: Transaction, call: Call, name: str, value: str) -> None:
    """Set a setting. Raises InvalidParameterException for a name or a value that is none."""
    if value not in _values(name):
        raise _invalid("value", _values(name))
    tx.registry_values.put(call.registry.account, call.registry.region, _key(name), value)


def _values(name: str) -> tuple[str, ...]:
    if name not in VALUES:
        raise _invalid("name", tuple(VALUES))
    return VALUES[name]


def _key(name: str) -> str:
    return f"account-setting:{name}"


def _invalid(member: str, allowed: tuple[str, ...]) -> errors.InvalidParameterException:
    return errors.InvalidParameterException(
        f"Invalid parameter at '{member}' failed to satisfy constraint: "
        f"'Member must satisfy enum value set: [{', '.join(sorted(allowed))}]'"
    )
