"""Operations on scanning configurations and on scans of images."""

from __future__ import annotations

import uuid
from typing import Any

from ecr_emulator.control.operations import Input, Output
from ecr_emulator.control.paging import next_token, page_limit, split_page, start_of_page
from ecr_emulator.core import scanning, scans
from ecr_emulator.core.call import Call
from ecr_emulator.core.emulator import Emulator
from ecr_emulator.core.images import ImageId, TaggedImage
from ecr_emulator.core.registry import Registry
from ecr_emulator.core.scanning import ENHANCED, Configuration, RepositoryScanning, Rule, ShownScan
from ecr_emulator.core.scans import ObservedFinding
from ecr_emulator.metadata.repositories import Repository
from ecr_emulator.scanners.base import OS, Cvss, Finding
from ecr_emulator.scanners.severity import newest

# Characters that the model lets the value of an attribute have.
_MAX_ATTRIBUTE = 256
_NOT_AVAILABLE = "NotAvailable"


def _filters(patterns: tuple[str, ...]) -> list[Output]:
    return [{"filter": pattern, "filterType": "WILDCARD"} for pattern in patterns]


def _configuration(configuration: Configuration) -> Output:
    rules = [
        {"scanFrequency": rule.frequency, "repositoryFilters": _filters(rule.filters)}
        for rule in configuration.rules
    ]
    return {"scanType": configuration.scan_type, "rules": rules}


async def put_registry_scanning_configuration(emulator: Emulator, call: Call, given: Input) -> Output:
    """Set how the registry's repositories are scanned."""
    scan_type = given.get("scanType", scanning.BASIC)
    rules = scanning.default_rules(scan_type)
    if "rules" in given:
        rules = tuple(
            Rule(rule["scanFrequency"], tuple(entry["filter"] for entry in rule["repositoryFilters"]))
            for rule in given["rules"]
        )
    wanted = Configuration(scan_type, rules)
    await emulator.metadata.write(scanning.configure, call, wanted)
    return {"registryScanningConfiguration": _configuration(wanted)}


async def get_registry_scanning_configuration(emulator: Emulator, call: Call, given: Input) -> Output:
    """Return how the registry's repositories are scanned."""
    current = await emulator.metadata.peek(scanning.configuration, call.registry)
    return {"registryId": call.registry.account, "scanningConfiguration": _configuration(current)}


async def batch_get_repository_scanning_configuration(emulator: Emulator, call: Call, given: Input) -> Output:
    """Return how repositories are scanned."""
    found, missing = await emulator.metadata.read(scanning.of_repositories, call, given["repositoryNames"])
    return {
        "scanningConfigurations": [_repository(repository, entry) for repository, entry in found],
        "failures": [
            {
                "repositoryName": name,
                "failureCode": "REPOSITORY_NOT_FOUND",
                "failureReason": "REPOSITORY_NOT_FOUND",
            }
            for name in missing
        ],
    }


def _repository(repository: Repository, entry: RepositoryScanning) -> Output:
    return {
        "repositoryArn": Registry(repository.account, repository.region).repository_arn(repository.name),
        "repositoryName": repository.name,
        "scanOnPush": repository.scan_on_push,
        "scanFrequency": entry.frequency,
        "appliedScanFilters": _filters(entry.filters),
    }


async def put_image_scanning_configuration(emulator: Emulator, call: Call, given: Input) -> Output:
    """Set whether a repository's images are scanned when they are pushed."""
    scan_on_push = given["imageScanningConfiguration"].get("scanOnPush", False)
    await emulator.metadata.write(scanning.set_scan_on_push, call, given["repositoryName"], scan_on_push)
    return {
        "registryId": call.registry.account,
        "repositoryName": given["repositoryName"],
        "imageScanningConfiguration": {"scanOnPush": scan_on_push},
    }


def _image_id(given: Input) -> ImageId:
    return ImageId(given["imageId"].get("imageDigest"), given["imageId"].get("imageTag"))


async def start_image_scan(emulator: Emulator, call: Call, given: Input) -> Output:
    """Start a basic scan of an image."""
    image_id = _image_id(given)
    image = await emulator.metadata.write(scans.start, call, given["repositoryName"], image_id)
    return {
        "registryId": call.registry.account,
        "repositoryName": given["repositoryName"],
        "imageId": {"imageDigest": image.digest, "imageTag": image_id.tag},
        "imageScanStatus": {"status": "IN_PROGRESS"},
    }


async def describe_image_scan_findings(emulator: Emulator, call: Call, given: Input) -> Output:
    """Return what the last scan of an image found, a page at a time."""
    name, image_id, limit = given["repositoryName"], _image_id(given), page_limit(given)
    list_name = f"scan-findings:{name}:{image_id}"
    after = start_of_page(emulator, call, list_name, given, 0)
    found = await emulator.metadata.read(scans.describe, call, name, image_id, after, limit + 1)
    page, last = split_page(found.findings, limit)
    findings: Output | None = None
    if found.shown.has_findings:
        findings = scan_summary(found.shown) or {}
        if found.shown.scan.scan_type == ENHANCED:
            findings["enhancedFindings"] = [
                _enhanced(call, name, found.image, found.shown, entry) for entry in page
            ]
        else:
            findings["findings"] = [_basic(entry.finding) for entry in page]
    return {
        "registryId": call.registry.account,
        "repositoryName": name,
        "imageId": {"imageDigest": found.image.image.digest, "imageTag": image_id.tag},
        "imageScanStatus": scan_status(found.shown),
        "imageScanFindings": findings,
        "nextToken": last and next_token(emulator, call, list_name, last.position),
    }


def scan_status(shown: ShownScan) -> Output:
    """Return a scan's ImageScanStatus."""
    return {"status": shown.status, "description": shown.description or None}


def scan_summary(shown: ShownScan) -> Output | None:
    """Return a scan's ImageScanFindingsSummary, or None for one without findings."""
    if not shown.has_findings:
        return None
    return {
        "imageScanCompletedAt": shown.scan.completed_at,
        "vulnerabilitySourceUpdatedAt": shown.scan.source_updated_at,
        "findingSeverityCounts": {
            _severity(severity, shown.scan.scan_type): count
            for severity, count in shown.scan.severity_counts.items()
        },
    }


def _severity(severity: str, scan_type: str) -> str:
    """Return a severity; Amazon Inspector has another word for none."""
    return "UNTRIAGED" if (severity, scan_type) == ("UNDEFINED", ENHANCED) else severity


def _basic(finding: Finding) -> Output:
    attributes = {"package_version": finding.package_version, "package_name": finding.package_name}
    for version, key in (("4", "CVSS4"), ("3", "CVSS3"), ("2", "CVSS2")):
        cvss = next((score for score in finding.cvss if score.version.startswith(version)), None)
        if cvss is not None:
            attributes |= {f"{key}_VECTOR": cvss.vector, f"{key}_SCORE": str(cvss.score)}
    return {
        "name": finding.name,
        "description": finding.description,
        "uri": finding.uri,
        "severity": finding.severity,
        "attributes": [
            {"key": key, "value": value[:_MAX_ATTRIBUTE]} for key, value in attributes.items() if value
        ],
    }


def _enhanced(
    call: Call, repository_name: str, tagged: TaggedImage, shown: ShownScan, observed: ObservedFinding
) -> Output:
    registry, image, finding = call.registry, tagged.image, observed.finding
    severity = _severity(finding.severity, ENHANCED)
    resource = f"{registry.repository_arn(repository_name)}/{image.digest}"
    # The same finding has the same ARN in each scan.
    identity = uuid.uuid5(uuid.NAMESPACE_URL, f"{resource} {finding.name} {finding.package_name}")
    observed_at = shown.scan.completed_at
    score = newest(finding.cvss)
    return {
        "awsAccountId": registry.account,
        "description": finding.description,
        "findingArn": f"arn:{registry.partition}:inspector2:{registry.region}:{registry.account}:finding/"
        f"{identity.hex}",
        "firstObservedAt": observed.first_observed_at,
        "lastObservedAt": observed_at,
        "packageVulnerabilityDetails": _vulnerability(finding, severity),
        "remediation": {"recommendation": {"text": _recommendation(finding)}},
        "resources": [
            {
                "id": resource,
                "type": "AWS_ECR_CONTAINER_IMAGE",
                "tags": {},
                "details": {
                    "awsEcrContainerImage": {
                        "architecture": shown.scan.architecture,
                        "imageHash": image.digest,
                        "imageTags": tagged.tags,
                        "platform": shown.scan.platform,
                        "pushedAt": image.pushed_at,
                        "registry": registry.account,
                        "repositoryName": repository_name,
                    }
                },
            }
        ],
        "score": score and score.score,
        "scoreDetails": score and {"cvss": _score_details(score)},
        "severity": severity,
        "status": "ACTIVE",
        "title": f"{finding.name} - {finding.package_name}",
        "type": "PACKAGE_VULNERABILITY",
        "updatedAt": observed_at,
        "fixAvailable": "YES" if finding.fixed_in else "NO",
        "exploitAvailable": "NO",
    }


def _recommendation(finding: Finding) -> str:
    if finding.fixed_in is None:
        return "None Provided"
    return f"Upgrade {finding.package_name} to {finding.fixed_in}."


def _vulnerability(finding: Finding, severity: str) -> Output:
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
        "vendorSeverity": finding.vendor_severity or severity,
        "vendorUpdatedAt": finding.vendor_updated_at,
        "vulnerabilityId": finding.name,
        "vulnerablePackages": [_package(finding)],
    }


def _package(finding: Finding) -> Output:
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


def _score_details(score: Cvss) -> Output:
    return {
        "adjustments": [],
        "score": score.score,
        "scoreSource": score.source,
        "scoringVector": score.vector,
        "version": score.version,
    }
