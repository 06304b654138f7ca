"""Records of calls in the shape of AWS CloudTrail's (its user guide, "CloudTrail record contents").

What ECR's records have is in the ECR user guide, "Logging Amazon ECR actions with AWS CloudTrail".
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

Record = dict[str, Any]

# Characters of a text past which it is left out: CloudTrail leaves out parameters that are too large.
LONGEST_TEXT = 16 * 1024

# Of ECR's records (user guide): images in one of a lifecycle policy, and tags of each of them.
IMAGES_PER_RECORD = 10
_MAX_TAGS = 100

_VERSION = "1.11"
_SOURCE = "ecr.amazonaws.com"
_READ_ONLY = ("Get", "List", "Describe", "BatchGet", "BatchCheck", "Validate")


class Action(Struct, frozen=True):
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

    def again(self, time: float, request_id: str) -> Action:
        """Return the same of another request that was like this one's."""
        return replace(self, time=time, request_id=request_id)

    def record(self) -> Record:
        """Return the record, the same each time."""
        made: Record = {
            "eventVersion": _VERSION,
            "userIdentity": user_identity(self.caller_arn),
            "eventTime": _moment(self.time),
            "eventSource": _SOURCE,
            "eventName": self.operation,
            "awsRegion": self.region,
            "sourceIPAddress": self.source_ip,
            "userAgent": self.user_agent,
        }
        if self.error is not None:
            made["errorCode"], made["errorMessage"] = self.error
        return made | {
            "requestParameters": dict(self.request) or None,
            "responseElements": None if self.response is None else dict(self.response),
            "requestID": self.request_id,
            # No request takes a step twice.
            "eventID": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{self.request_id} {self.operation}")),
            "readOnly": is_read_only(self.operation),
            "resources": [_resource(arn) for arn in self.resources],
            "eventType": "AwsApiCall",
            "managementEvent": True,
            "recipientAccountId": self.account,
            "eventCategory": "Management",
        }


class ExpiredImage(Struct, frozen=True):
    """An image that a rule of a lifecycle policy deleted or archived; times in seconds since 1970."""

    digest: str
    tags: tuple[str, ...]
    pushed_at: float
    rule_priority: int | None


class PolicyExecution(Struct, frozen=True):
    """What a lifecycle policy did to some of its repository's images."""

    account: str
    region: str
    time: float
    repository: str
    resource: str
    rules: Sequence[Mapping[str, Any]]
    """The rules of the policy's text."""

    images: tuple[ExpiredImage, ...]
    event_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    operation: str = "PolicyExecutionEvent"
    caller_arn: str = ""

    def record(self) -> Record:
        """Return the record, the same each time."""
        return {
            "eventVersion": _VERSION,
            "userIdentity": {"accountId": self.account, "invokedBy": "AWS Internal"},
            "eventTime": _moment(self.time),
            "eventSource": _SOURCE,
            "eventName": self.operation,
            "awsRegion": self.region,
            "sourceIPAddress": "AWS Internal",
            "userAgent": "AWS Internal",
            "requestParameters": None,
            "responseElements": None,
            "eventID": self.event_id,
            "readOnly": True,
            "resources": [_resource(self.resource)],
            "eventType": "AwsServiceEvent",
            "managementEvent": True,
            "recipientAccountId": self.account,
            "serviceEventDetails": {
                "repositoryName": self.repository,
                "lifecycleEventPolicy": {"lifecycleEventRules": [_rule(rule) for rule in self.rules]},
                "lifecycleEventImageActions": [_image_action(image) for image in self.images],
            },
            "eventCategory": "Management",
        }


def _rule(rule: Mapping[str, Any]) -> dict[str, Any]:
    selection = dict(rule["selection"])
    selection["tagStatus"] = selection["tagStatus"].capitalize()
    # "imageCountMoreThan" is "Image count more than".
    selection["countType"] = re.sub(r"[A-Z]", r" \g<0>", selection["countType"]).capitalize()
    return {
        "rulePriority": rule["rulePriority"],
        **({"description": rule["description"]} if "description" in rule else {}),
        "lifecycleEventSelection": selection,
        "action": rule["action"]["type"],
    }


def _image_action(image: ExpiredImage) -> dict[str, Any]:
    shown = {
        "digest": image.digest,
        "tagStatus": "Tagged" if image.tags else "Untagged",
        "tagList": list(image.tags[:_MAX_TAGS]),
        "pushedAt": int(image.pushed_at * 1000),
    }
    priority = {} if image.rule_priority is None else {"rulePriority": image.rule_priority}
    return {"lifecycleEventImage": shown} | priority


def _resource(arn: str) -> dict[str, str]:
    return {"accountId": arn.split(":")[4], "type": "AWS::ECR::Repository", "ARN": arn}


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


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
