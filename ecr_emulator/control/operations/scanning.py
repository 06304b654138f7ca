"""Operations on scanning configurations and on scans of images."""

from __future__ import annotations

from ecr_emulator.control.operations import Input, Output
from ecr_emulator.control.paging import next_token, page_limit, split_page, start_of_page
from ecr_emulator.core import findings, repositories, scanning, scans
from ecr_emulator.core.call import Call
from ecr_emulator.core.emulator import Emulator
from ecr_emulator.core.findings import InspectedImage, Observation
from ecr_emulator.core.images import ImageId
from ecr_emulator.core.registry import Registry
from ecr_emulator.core.scanning import ENHANCED, Configuration, RepositoryScanning, Rule, ShownScan
from ecr_emulator.core.scans import ObservedFinding
from ecr_emulator.metadata.repositories import Repository
from ecr_emulator.metadata.scans import Scan
from ecr_emulator.scanners.base import Finding

# Characters that the model lets the value of an attribute have.
_MAX_ATTRIBUTE = 256


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
    await emulator.metadata.write(repositories.set_scan_on_push, call, given["repositoryName"], scan_on_push)
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
    shown: Output | None = None
    if found.shown.has_findings:
        shown, scan = scan_summary(found.shown) or {}, found.shown.scan
        if scan.scan_type == ENHANCED:
            inspected = InspectedImage(call.registry, name, found.image, scan.platform, scan.architecture)
            shown["enhancedFindings"] = [_enhanced(inspected, scan, entry) for entry in page]
        else:
            shown["findings"] = [_basic(entry.finding) for entry in page]
    return {
        "registryId": call.registry.account,
        "repositoryName": name,
        "imageId": {"imageDigest": found.image.image.digest, "imageTag": image_id.tag},
        "imageScanStatus": scan_status(found.shown),
        "imageScanFindings": shown,
        "nextToken": last and next_token(emulator, call, list_name, last.position),
    }


def scan_status(shown: ShownScan) -> Output:
    """Return a scan's ImageScanStatus."""
    return {"status": shown.status, "description": shown.description or None}


def scan_summary(shown: ShownScan) -> Output | None:
    """Return a scan's ImageScanFindingsSummary, or None for one without findings."""
    if not shown.has_findings:
        return None
    is_enhanced = shown.scan.scan_type == ENHANCED
    return {
        "imageScanCompletedAt": shown.scan.completed_at,
        "vulnerabilitySourceUpdatedAt": shown.scan.source_updated_at,
        "findingSeverityCounts": {
            findings.severity(severity) if is_enhanced else severity: count
            for severity, count in shown.scan.severity_counts.items()
        },
    }


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


def _enhanced(inspected: InspectedImage, scan: Scan, observed: ObservedFinding) -> Output:
    made_at = scan.completed_at
    return findings.describe(
        inspected, Observation(observed.finding, observed.first_observed_at, made_at, made_at)
    )
