"""Managed signing: a registry's rules, and the signings that a push asks for.

Facts are those of the ECR user guide, "Managed signing": profiles of the registry's own region, of any
account; container images are signed, other artifacts are not, least of all signatures.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from ecr_emulator.core import errors
from ecr_emulator.core.call import Call
from ecr_emulator.core.manifest import INDEX_TYPES
from ecr_emulator.core.names import matches_wildcard
from ecr_emulator.core.registry import Registry
from ecr_emulator.metadata.images import Image
from ecr_emulator.metadata.signing import SigningStatus
from ecr_emulator.metadata.store import Transaction

if TYPE_CHECKING:
    from ecr_emulator.core.pushes import Push

# The engine that does the tasks that ``leave_tasks`` leaves.
ENGINE_NAME = "signing"

_VALUE_NAME = "signing-configuration"
_PROFILE_ARN = re.compile(
    r"arn:(?P<partition>[a-z-]+):signer:(?P<region>[^:]+):(?P<account>\d{12}):/signing-profiles/(?P<name>\w+)"
)
_IMAGE_CONFIG_TYPES = (
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
)

# As the API has it: {"rules": [{"signingProfileArn": …, "repositoryFilters": [{"filter": …}]}]}.
Configuration = dict[str, Any]


class Profile(Struct, frozen=True):
    """A signing profile of AWS Signer: where it is, and its name."""

    registry: Registry
    name: str


def parse_profile(arn: str) -> Profile:
    """Return what an ARN, which the model has checked, says of a signing profile."""
    match = _PROFILE_ARN.fullmatch(arn)
    if match is None:
        raise ValueError(f"{arn!r} is no signing profile")
    return Profile(Registry(match["account"], match["region"]), match["name"])


def put_configuration(tx: Transaction, call: Call, configuration: Configuration) -> None:
    """Set the registry's rules.

    Raises InvalidParameterException for a profile of another region.
    """
    for rule in configuration["rules"]:
        arn = rule["signingProfileArn"]
        region = parse_profile(arn).registry.region
        if region != call.registry.region:
            raise errors.InvalidParameterException(
                "Invalid parameter at 'signingConfiguration' failed to satisfy constraint: 'Signing profile "
                f"{arn} must be in the region of the registry, {call.registry.region}'"
            )
    tx.registry_values.put(
        call.registry.account, call.registry.region, _VALUE_NAME, json.dumps(configuration)
    )


def get_configuration(tx: Transaction, call: Call) -> Configuration:
    """Return the registry's rules. Raises SigningConfigurationNotFoundException."""
    configuration = _find_configuration(tx, call)
    if configuration is None:
        raise errors.SigningConfigurationNotFoundException(
            f"Signing configuration does not exist in the registry with id '{call.registry.account}'"
        )
    return configuration


def delete_configuration(tx: Transaction, call: Call) -> Configuration:
    """Remove the registry's rules and return them. Raises SigningConfigurationNotFoundException."""
    configuration = get_configuration(tx, call)
    tx.registry_values.delete(call.registry.account, call.registry.region, _VALUE_NAME)
    return configuration


def _find_configuration(tx: Transaction, call: Call) -> Configuration | None:
    text = tx.registry_values.get(call.registry.account, call.registry.region, _VALUE_NAME)
    return None if text is None else json.loads(text)


def matching_profiles(configuration: Configuration, repository_name: str) -> Sequence[str]:
    """Return the ARNs of the profiles that sign a repository's images, each once, in the rules' order."""
    return list(
        dict.fromkeys(
            rule["signingProfileArn"]
            for rule in configuration["rules"]
            if "repositoryFilters" not in rule
            or any(matches_wildcard(entry["filter"], repository_name) for entry in rule["repositoryFilters"])
        )
    )


def is_container_image(image: Image) -> bool:
    """Tell whether something is an image, or an index of images, and no artifact that is kept as one."""
    return image.subject_digest is None and (
        image.artifact_type in _IMAGE_CONFIG_TYPES
        or (image.media_type in INDEX_TYPES and image.artifact_type is None)
    )


def leave_tasks(tx: Transaction, call: Call, push: Push) -> None:
    """Have the image that is pushed signed by each profile whose rule it matches, unless that was done.

    One whose signing failed is tried again.
    """
    configuration = _find_configuration(tx, call)
    if configuration is None or not is_container_image(push.image):
        return
    statuses = {entry.profile_arn: entry.status for entry in tx.signing_statuses.of_image(push.image.id)}
    for arn in matching_profiles(configuration, push.repository.name):
        if statuses.get(arn, "FAILED") == "FAILED":
            tx.signing_statuses.put(push.image.id, SigningStatus(arn, "IN_PROGRESS"))
            tx.tasks.add(
                ENGINE_NAME,
                push.repository.account,
                push.repository.region,
                {
                    "repository": push.repository.name,
                    "digest": push.image.digest,
                    "profile": arn,
                    "caller": call.caller_arn,
                },
            )
