"""Findings of enhanced scanning as Amazon Inspector describes them, to ECR and in events."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from ecr_emulator.core.registry import Registry
from ecr_emulator.scanners.base import OS, Cvss, Finding
from ecr_emulator.scanners.severity import newest

if TYPE_CHECKING:
    from ecr_emulator.core.images import TaggedImage

ACTIVE = "ACTIVE"
CLOSED = "CLOSED"

# Characters that Inspector lets a description have.
_MAX_DESCRIPTION = 1024
_NOT_AVAILABLE = "NotAvailable"


class InspectedImage(Struct, frozen=True):
    """An image that was scanned, and what the scan says it is for."""

    registry: Registry
    repository_name: str
    tagged: TaggedImage
    platform: str | None
    architecture: str | None

    @property
    def arn(self) -> str:
        """The image's ARN."""
        return f"{self.registry.repository_arn(self.repository_name)}/{self.tagged.image.digest}"


class Observation(Struct, frozen=True):
    """A finding, and when it was made, was last made and was last changed; in seconds since 1970."""

    finding: Finding
    first_observed_at: float
    last_observed_at: float | None
    updated_at: float | None
    status: str = ACTIVE


def identity(finding: Finding) -> str:
    """Return what tells a finding apart from the others of its image, in each scan the same."""
    return " ".join((finding.name, finding.package_name, finding.package_version, finding.package_path or ""))


def severity(finding_severity: str) -> str:
    """Return a severity in Inspector's words, which has another for none."""
    return "UNTRIAGED" if finding_severity == "UNDEFINED" else finding_severity


def describe(inspected: InspectedImage, observation: Observation) -> dict[str, Any]:
    """Return a finding as ECR's EnhancedImageScanFinding; what there is none of is None."""
    registry, image, finding = inspected.registry, inspected.tagged.image, observation.finding
    arn = inspected.arn
    named = uuid.uuid5(uuid.NAMESPACE_URL, f"{arn} {identity(finding)}")
    score = newest(finding.cvss)
    return {
        "awsAccountId": registry.account,
        "description": finding.description and finding.description[:_MAX_DESCRIPTION],
        "findingArn": f"arn:{registry.partition}:inspector2:{registry.region}:{registry.account}:finding/"
        f"{named.hex}",
        "firstObservedAt": observation.first_observed_at,
        "lastObservedAt": observation.last_observed_at,
        "packageVulnerabilityDetails": _vulnerability(finding),
        "remediation": {"recommendation": {"text": _recommendation(finding)}},
        "resources": [
            {
                "id": arn,
                "type": "AWS_ECR_CONTAINER_IMAGE",
                "tags": {},
                "details": {
                    "awsEcrContainerImage": {
                        "architecture": inspected.architecture,
                        "imageHash": image.digest,
                        "imageTags": inspected.tagged.tags,
                        "platform": inspected.platform,
                        "pushedAt": image.pushed_at,
                        "registry": registry.account,
                        "repositoryName": inspected.repository_name,
                    }
                },
            }
        ],
        "score": score and score.score,
        "scoreDetails": score and {"cvss": _score_details(score)},
        "severity": severity(finding.severity),
        "status": observation.status,
        "title": f"{finding.name} - {finding.package_name}",
        "type": "PACKAGE_VULNERABILITY",
        "updatedAt": observation.updated_at,
        "fixAvailable": "YES" if finding.fixed_in else "NO",
        "exploitAvailable": "NO",
    }


def _recommendation(finding: Finding) -> str:
    if finding.fixed_in is None:
        return "None Provided"
    return f"Upgrade {finding.package_name} to {finding.fixed_in}."


def _vulnerability(finding: Finding) -> dict[str, Any]:
    return {
        "cvss": [
            {
                "baseScore": cvss.score,
                "scoringVector": cvss.vector,
                "source": cvss.source,
                "version": cvss.version,
            }
            for cvss in finding.cvss
        ],
        "referenceUrls": list(finding.references),
        "relatedVulnerabilities": list(finding.related),
        "source": finding.source,
        "sourceUrl": finding.uri,
        "vendorCreatedAt": finding.vendor_created_at,
        "vendorSeverity": finding.vendor_severity or severity(finding.severity),
        "vendorUpdatedAt": finding.vendor_updated_at,
        "vulnerabilityId": finding.name,
        "vulnerablePackages": [_package(finding)],
    }


def _package(finding: Finding) -> dict[str, Any]:
    version: dict[str, Any] = {"version": finding.package_version}
    if finding.package_manager == OS:
        epoch, colon, rest = finding.package_version.partition(":")
        number, hyphen, release = (rest if colon else epoch).rpartition("-")
        version = {
            "epoch": int(epoch) if colon and epoch.isdigit() else 0,
            "version": number if hyphen else release,
            "release": release if hyphen else None,
        }
    return {
        **version,
        "arch": finding.package_arch and finding.package_arch.upper(),
        "filePath": finding.package_path,
        "name": finding.package_name,
        "packageManager": finding.package_manager,
        "sourceLayerHash": finding.package_layer,
        "fixedInVersion": finding.fixed_in or _NOT_AVAILABLE,
    }


def _score_details(score: Cvss) -> dict[str, Any]:
    return {
        "adjustments": [],
        "score": score.score,
        "scoreSource": score.source,
        "scoringVector": score.vector,
        "version": score.version,
    }
