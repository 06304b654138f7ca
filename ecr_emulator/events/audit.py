"""Records of calls in the shape of AWS CloudTrail's (its user guide, "CloudTrail record contents").

What ECR's records have is in the ECR user guide, "Logging Amazon ECR actions with AWS CloudTrail".
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

Record = dict[str, Any]

# Characters of a text past which it is left out: CloudTrail leaves out parameters that are too large.
LONGEST_TEXT = 16 * 1024

_READ_ONLY = ("Get", "List", "Describe", "BatchGet", "BatchCheck", "Validate")


@dataclass(frozen=True, slots=True)
class Action:
    """A call that was answered, or refused with an error (code and message).

    ``caller_arn`` is "" where nobody knows who called. ``time`` in seconds since 1970.
    """

    operation: str
    account: str
    region: str
    caller_arn: str
    time: float
    request_id: str
    source_ip: str | None
    user_agent: str | None
    resources: tuple[str, ...]
    """The ARNs of the repositories that the call is about."""

    request: Mapping[str, Any]
    response: Mapping[str, Any] | None = None
    error: tuple[str, str] | None = None


def is_read_only(operation: str) -> bool:
    """Tell whether an operation changes nothing; the records of these have no response."""
    return operation.startswith(_READ_ONLY)


def presentable(members: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members of an input or an output without bytes and texts that are too long to be kept."""
    shown: dict[str, Any] = {}
    for name, value in members.items():
        if isinstance(value, dict):
            shown[name] = presentable(value)
        elif not (isinstance(value, bytes) or (isinstance(value, str) and len(value) > LONGEST_TEXT)):
            shown[name] = value
    return shown


def record(action: Action) -> Record:
    """Return the record of an action."""
    made: Record = {
        "eventVersion": "1.11",
        "userIdentity": user_identity(action.caller_arn),
        "eventTime": datetime.fromtimestamp(action.time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "eventSource": "ecr.amazonaws.com",
        "eventName": action.operation,
        "awsRegion": action.region,
        "sourceIPAddress": action.source_ip,
        "userAgent": action.user_agent,
    }
    if action.error is not None:
        made["errorCode"], made["errorMessage"] = action.error
    return made | {
        "requestParameters": dict(action.request) or None,
        "responseElements": None if action.response is None else dict(action.response),
        "requestID": action.request_id,
        "eventID": _event_id(action),
        "readOnly": is_read_only(action.operation),
        "resources": [
            {"accountId": arn.split(":")[4], "type": "AWS::ECR::Repository", "ARN": arn}
            for arn in action.resources
        ],
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": action.account,
        "eventCategory": "Management",
    }


def _event_id(action: Action) -> str:
    """Return the id of an action's record, the same each time: no request takes a step twice."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{action.request_id} {action.operation}"))


def user_identity(arn: str) -> Record:
    """Return CloudTrail's ``userIdentity`` of a principal.

    Unique ids, access keys and sessions' attributes are left out: the emulator has none to tell.
    """
    if not arn:
        return {"type": "Unknown"}
    partition, account, resource = (part := arn.split(":", 5))[1], part[4], part[5]
    kind, _, path = resource.partition("/")
    identity: Record = {"type": "Unknown", "arn": arn, "accountId": account}
    if resource == "root":
        identity |= {"type": "Root", "principalId": account}
    elif kind == "user":
        identity |= {"type": "IAMUser", "userName": path.rpartition("/")[2]}
    elif kind == "assumed-role":
        role = path.partition("/")[0]
        issuer = {
            "type": "Role",
            "arn": f"arn:{partition}:iam::{account}:role/{role}",
            "accountId": account,
            "userName": role,
        }
        identity |= {"type": "AssumedRole", "sessionContext": {"sessionIssuer": issuer}}
    elif kind == "role":
        identity["type"] = "Role"
    elif kind == "federated-user":
        identity["type"] = "FederatedUser"
    return identity
