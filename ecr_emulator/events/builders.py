"""The events that ECR and Amazon Inspector send to EventBridge, in the shapes of the ECR user guide.

("Amazon ECR events and EventBridge".) Those of pushes and deletions have media types too, and an empty
``image-tag`` where there is no tag: the guide's examples do not show it, events of ECR do.
"""

from __future__ import annotations

import functools
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

Event = dict[str, Any]

IMAGE_ACTION = "ECR Image Action"
REFERRER_ACTION = "ECR Referrer Action"
IMAGE_SCAN = "ECR Image Scan"
REPLICATION_ACTION = "ECR Replication Action"
PULL_THROUGH_CACHE_ACTION = "ECR Pull Through Cache Action"
SCAN_RESOURCE_CHANGE = "ECR Scan Resource Change"
INSPECTOR_SCAN = "Inspector2 Scan"
INSPECTOR_FINDING = "Inspector2 Finding"

_ECR = "aws.ecr"
_INSPECTOR = "aws.inspector2"
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
# The members of a finding that are times.
_TIMES = frozenset(
    {"firstObservedAt", "lastObservedAt", "pushedAt", "updatedAt", "vendorCreatedAt", "vendorUpdatedAt"}
)


class Place(Struct, frozen=True):
    """A repository, and when something happened there (seconds since 1970)."""

    account: str
    region: str
    repository: str
    arn: str
    time: float


class Subject(Struct, frozen=True):
    """An image; a referrer is one that has a subject itself, as signatures have."""

    digest: str
    media_type: str
    artifact_type: str | None
    is_referrer: bool


class FrequencyChange(Struct, frozen=True):
    """How often a repository is scanned from now on, and was before."""

    repository: str
    arn: str
    frequency: str
    previous: str


def image_action(place: Place, subject: Subject, action_type: str, tag: str | None) -> Event:
    """Return the event of a push or a deletion (``action_type`` PUSH or DELETE)."""
    detail = _action(place, subject, action_type)
    return _event(place, _type_of(subject), detail | {"image-tag": tag or ""})


def storage_class_action(
    place: Place, subject: Subject, target: str, last_activated_at: float | None = None
) -> Event:
    """Return the event of an image that was archived, or restored at a time (``target`` STANDARD)."""
    detail = _action(place, subject, "UPDATE_STORAGE_CLASS") | {"target-storage-class": target}
    if last_activated_at is not None:
        detail["last-activated-at"] = _moment(last_activated_at, "milliseconds")
    return _event(place, _type_of(subject), detail)


def image_scan(
    place: Place, digest: str, tags: Sequence[str], status: str, severity_counts: Mapping[str, int]
) -> Event:
    """Return the event of a basic scan that is over, with the numbers of what it found."""
    detail = {
        "scan-status": status,
        "repository-name": place.repository,
        "finding-severity-counts": dict(severity_counts),
        "image-digest": digest,
        "image-tags": list(tags),
    }
    return _event(place, IMAGE_SCAN, detail, place.arn)


def replication_action(
    place: Place, digest: str, tag: str | None, source_account: str, source_region: str, *, success: bool
) -> Event:
    """Return the event of a replication that is over; the place is the destination's."""
    detail = {
        "result": "SUCCESS" if success else "FAILED",
        "repository-name": place.repository,
        "image-digest": digest,
        "source-account": source_account,
        "action-type": "REPLICATE",
        "source-region": source_region,
        "image-tag": tag or "",
    }
    return _event(place, REPLICATION_ACTION, detail, place.arn)


def pull_through_cache_action(
    place: Place,
    prefix: str,
    upstream: str,
    *,
    tag: str | None,
    digest: str | None,
    failure: tuple[str, str] | None = None,
) -> Event:
    """Return the event of an attempt to fetch an image; ``failure`` is its code and its reason."""
    detail = {
        "rule-version": "1",
        "sync-status": "SUCCESS" if failure is None else "FAILED",
        "ecr-repository-prefix": prefix,
        "repository-name": place.repository,
        "upstream-registry-url": upstream,
    }
    if tag is not None:
        detail["image-tag"] = tag
    if digest is not None:
        detail["image-digest"] = digest
    if failure is not None:
        detail["failure-code"], detail["failure-reason"] = failure
    return _event(place, PULL_THROUGH_CACHE_ACTION, detail, place.arn)


def scan_resource_change(account: str, region: str, time: float, changes: Sequence[FrequencyChange]) -> Event:
    """Return the event of repositories that enhanced scanning scans at other times than before."""
    detail = {
        "action-type": "SCAN_FREQUENCY_CHANGE",
        "repositories": [
            {
                "repository-name": change.repository,
                "repository-arn": change.arn,
                "scan-frequency": change.frequency,
                "previous-scan-frequency": change.previous,
            }
            for change in changes
        ],
        "resource-type": "REPOSITORY",
        "scan-type": "ENHANCED",
    }
    return _envelope(_ECR, SCAN_RESOURCE_CHANGE, account, region, time, [], detail)


def inspector_scan(
    place: Place, digest: str, tags: Sequence[str], severity_counts: Mapping[str, int]
) -> Event:
    """Return Inspector's event of an image's first scan, with the numbers of what it found."""
    detail = {
        "scan-status": "INITIAL_SCAN_COMPLETE",
        "repository-name": place.arn,
        "finding-severity-counts": {**severity_counts, "TOTAL": sum(severity_counts.values())},
        "image-digest": digest,
        "image-tags": list(tags),
    }
    return _inspector_event(place, INSPECTOR_SCAN, detail, place.arn)


def inspector_finding(place: Place, finding: Mapping[str, Any]) -> Event:
    """Return Inspector's event of a finding that is given as DescribeImageScanFindings has it.

    Inspector has other words for the score, and writes times for people.
    """
    detail = _written(finding)
    score = detail.pop("score", None)
    details = detail.pop("scoreDetails", None)
    if details:
        cvss = details["cvss"]
        detail["inspectorScore"] = score
        detail["inspectorScoreDetails"] = {"adjustedCvss": {**cvss, "cvssSource": cvss["scoreSource"]}}
    partition = place.arn.split(":")[1]
    for resource in detail["resources"]:
        resource |= {"partition": partition, "region": place.region}
    return _inspector_event(
        place, INSPECTOR_FINDING, detail, *(resource["id"] for resource in detail["resources"])
    )


def _written(members: Mapping[str, Any]) -> dict[str, Any]:
    """Return members of a finding without what there is none of, and with times in Inspector's form."""
    written: dict[str, Any] = {}
    for name, member in members.items():
        if isinstance(member, dict):
            written[name] = _written(member)
        elif isinstance(member, list):
            written[name] = [_written(entry) if isinstance(entry, dict) else entry for entry in member]
        elif member is not None:
            written[name] = _time(member) if name in _TIMES else member
    return written


@functools.lru_cache(maxsize=1024)
def _time(seconds: float) -> str:
    """Return a time as in "Dec 3, 2021, 6:02:30 PM"."""
    moment = datetime.fromtimestamp(seconds, UTC)
    hour, half = (moment.hour + 11) % 12 + 1, "AM" if moment.hour < 12 else "PM"
    return f"{_MONTHS[moment.month - 1]} {moment.day}, {moment.year}, {hour}:{moment:%M:%S} {half}"


def _action(place: Place, subject: Subject, action_type: str) -> dict[str, Any]:
    detail = {
        "result": "SUCCESS",
        "repository-name": place.repository,
        "image-digest": subject.digest,
        "action-type": action_type,
        "manifest-media-type": subject.media_type,
    }
    if subject.artifact_type is not None:
        detail["artifact-media-type"] = subject.artifact_type
    return detail


def _type_of(subject: Subject) -> str:
    return REFERRER_ACTION if subject.is_referrer else IMAGE_ACTION


def _event(place: Place, detail_type: str, detail: dict[str, Any], *resources: str) -> Event:
    return _envelope(_ECR, detail_type, place.account, place.region, place.time, resources, detail)


def _inspector_event(place: Place, detail_type: str, detail: dict[str, Any], *resources: str) -> Event:
    return _envelope(_INSPECTOR, detail_type, place.account, place.region, place.time, resources, detail)


def _envelope(
    source: str,
    detail_type: str,
    account: str,
    region: str,
    time: float,
    resources: Sequence[str],
    detail: dict[str, Any],
) -> Event:
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": detail_type,
        "source": source,
        "account": account,
        "time": _moment(time, "seconds"),
        "region": region,
        "resources": list(resources),
        "detail": detail,
    }


def _moment(seconds: float, precision: str) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec=precision).replace("+00:00", "Z")
