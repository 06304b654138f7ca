"""Scans of images: starting them, performing them, and showing what they found."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import Struct, convert, to_builtins
from msgspec.structs import replace

from ecr_emulator.blobs import reading
from ecr_emulator.core import errors, events, findings, images, manifest, repositories, scanning
from ecr_emulator.core.call import Call
from ecr_emulator.core.emulator import Emulator
from ecr_emulator.core.findings import CLOSED, InspectedImage, Observation
from ecr_emulator.core.images import ImageId, TaggedImage
from ecr_emulator.core.registry import Registry
from ecr_emulator.core.scanning import BASIC, CONTINUOUS_SCAN, ENHANCED, MANUAL, ShownScan, TakingUp
from ecr_emulator.metadata.images import Image, ImageFilter
from ecr_emulator.metadata.layers import Layer
from ecr_emulator.metadata.repositories import Repository
from ecr_emulator.metadata.scans import Scan, StoredFinding
from ecr_emulator.metadata.store import Transaction
from ecr_emulator.metadata.tasks import Task
from ecr_emulator.scanners.base import (
    COMPLETE,
    FAILED,
    SEVERITIES,
    UNSUPPORTED_IMAGE,
    Finding,
    Report,
    ScannedBlob,
    ScannedImage,
)

_logger = logging.getLogger(__name__)

# Seconds until an image is scanned again that is scanned continuously.
RESCAN_INTERVAL = 24 * 3600.0
# Repositories, and images of one, that one transaction looks at.
_PAGE_SIZE = 100
# Bytes of a configuration that are read for the image's architecture.
_MAX_CONFIG = 4 << 20

# What ECR says of an image that it does not know the operating system of.
_UNSUPPORTED = "UnsupportedImageError: The operating system and/or package manager are not supported."


class ObservedFinding(Struct, frozen=True):
    """A finding, its position in the list from 1 on, and when it was first made (seconds since 1970)."""

    position: int
    first_observed_at: float
    finding: Finding


class ScanFindings(Struct, frozen=True):
    """An image, its scan, and a page of what it found."""

    image: TaggedImage
    shown: ShownScan
    findings: list[ObservedFinding]


class ScanJob(Struct, frozen=True):
    """A scan that is to be performed."""

    scan: Scan
    repository: Repository
    image: TaggedImage
    content: bytes


def start(tx: Transaction, call: Call, repository_name: str, image_id: ImageId) -> Image:
    """Start a basic scan and return the image.

    Raises RepositoryNotFoundException, InvalidParameterException, ImageNotFoundException,
    UnsupportedImageTypeException, ImageArchivedException, ValidationException while the registry has
    enhanced scanning, and LimitExceededException where the image had its scan of the day.
    """
    repository = repositories.find(tx, call, repository_name)
    image = images.resolve(tx, repository, image_id)
    if scanning.configuration(tx, call.registry).scan_type == ENHANCED:
        raise errors.ValidationException("This feature is disabled")
    if not scanning.is_scannable(image):
        # ECR names the index's own media type, or what kind of artifact it is.
        media_type = image.artifact_type or image.media_type
        raise errors.UnsupportedImageTypeException(
            f"An artifact with media type '{media_type}' cannot be scanned. For more information, see the "
            "Amazon ECR documentation."
        )
    if image.status != "ACTIVE":
        raise errors.ImageArchivedException(
            f"The image with imageId {image_id} within the repository with name '{repository.name}' in the "
            f"registry with id '{repository.account}' is archived and cannot be scanned"
        )
    last = tx.scans.get(image.id, BASIC)
    if last is not None and scanning.is_within_quota(last, call.now):
        raise errors.LimitExceededException("The scan quota per image has been exceeded. Wait and try again.")
    scanning.request(tx, image, BASIC, call.now)
    return image


def describe(
    tx: Transaction, call: Call, repository_name: str, image_id: ImageId, after: int, limit: int
) -> ScanFindings:
    """Return an image's scan of the registry's scan type, and its findings past a position.

    Raises RepositoryNotFoundException, InvalidParameterException, ImageNotFoundException and
    ScanNotFoundException.
    """
    repository = repositories.find(tx, call, repository_name)
    image = images.resolve(tx, repository, image_id)
    shown = scanning.of_images(tx, call, repository, [image]).get(image.id)
    if shown is None:
        # This message, unlike others, quotes the half that was not given.
        raise errors.ScanNotFoundException(
            f"Image scan does not exist for the image with '{{imageDigest:'{image_id.digest or 'null'}', "
            f"imageTag:'{image_id.tag or 'null'}'}}' in the repository with name '{repository.name}' in the "
            f"registry with id '{repository.account}'"
        )
    found: list[StoredFinding] = []
    if shown.has_findings:
        found = tx.scans.findings(image.id, shown.scan.scan_type, after, limit)
    return ScanFindings(
        TaggedImage(image, tx.tags.of_image(image.id)),
        shown,
        [
            ObservedFinding(stored.position, stored.first_observed_at, convert(stored.content, Finding))
            for stored in found
        ],
    )


async def perform(emulator: Emulator, scan: Scan) -> None:
    """Perform a scan that is due."""
    job = await emulator.metadata.write(_take, scan)
    if job is None:
        return
    try:
        architecture, report = await _scan(emulator, job)
    except Exception:
        _logger.exception("scan failed", extra={"operation": scanning.ENGINE})
        architecture, report = None, Report(FAILED, "The scan has failed.")
    await emulator.metadata.write(_record, job, report, architecture, emulator.clock.now())


def _take(tx: Transaction, scan: Scan) -> ScanJob | None:
    """Return what is to be scanned; another time around only what still is scanned continuously."""
    image = tx.images.by_id(scan.image_id)
    repository = None if image is None else tx.repositories.by_id(image.repository_id)
    if image is None or repository is None:
        # It went, and the scan with it.
        return None
    is_new = scan.status == scanning.REQUESTED[scan.scan_type]
    if not is_new and not _is_continuous(tx, scan, repository, image):
        tx.scans.schedule(scan, None)
        return None
    return ScanJob(
        scan, repository, TaggedImage(image, tx.tags.of_image(image.id)), tx.images.manifest(image.id)
    )


def _is_continuous(tx: Transaction, scan: Scan, repository: Repository, image: Image) -> bool:
    current = scanning.configuration(tx, Registry(repository.account, repository.region))
    return (
        scan.scan_type == current.scan_type
        and current.of_repository(repository).frequency == CONTINUOUS_SCAN
        and image.status == "ACTIVE"
    )


async def _scan(emulator: Emulator, job: ScanJob) -> tuple[str | None, Report]:
    """Return the image's architecture and what its scan comes to."""
    image = job.image.image
    parsed = manifest.parse(job.content, image.media_type, image.digest.partition(":")[0])
    wanted = [parsed.config, *parsed.layers] if parsed.config else list(parsed.layers)
    layers = await emulator.metadata.read(_layers, job.repository, [blob.digest for blob in wanted])
    async with contextlib.AsyncExitStack() as stack:
        blobs = []
        for named in wanted:
            layer = layers.get(named.digest)
            try:
                blob = await emulator.open_blob(layer.blob_name, layer.encryption_key) if layer else None
            except errors.KmsException as error:
                return None, Report(FAILED, error.message)
            if blob is None:
                return None, Report(FAILED, f"The layer with digest '{named.digest}' is missing.")
            blobs.append(ScannedBlob(named.digest, await stack.enter_async_context(reading.as_file(blob))))
        report = await emulator.scanner.scan(
            ScannedImage(
                repository=job.repository.name,
                tags=tuple(job.image.tags),
                digest=image.digest,
                media_type=image.media_type,
                manifest=job.content,
                config=blobs[0],
                layers=tuple(blobs[1:]),
                languages=job.scan.scan_type == ENHANCED,
            )
        )
        return await asyncio.to_thread(_architecture, blobs[0]), await asyncio.to_thread(_checked, report)


def _checked(report: Report) -> Report:
    """Return a report, whose members have the types that they are to have. Raises ValidationError."""
    return convert(to_builtins(report), Report)


def _layers(tx: Transaction, repository: Repository, digests: Sequence[str]) -> dict[str, Layer]:
    return {layer.digest: layer for layer in tx.layers.among(repository.id, digests)}


def _architecture(config: ScannedBlob) -> str | None:
    try:
        with config.path.open("rb") as file:
            value = json.loads(file.read(_MAX_CONFIG))["architecture"]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    return value if isinstance(value, str) else None


def _record(tx: Transaction, job: ScanJob, report: Report, architecture: str | None, now: float) -> None:
    """Keep what a scan came to, and when it is to be done again where scanning is continuous."""
    scan, image = job.scan, job.image.image
    status, description = _outcome(report, scan.scan_type)
    found = sorted(report.findings, key=_rank)
    again = _is_continuous(tx, scan, job.repository, image) and scanning.is_eligible(image, now)
    counts = _counts(found)
    wanted = tx.scans.complete(
        scan,
        status=status,
        description=description,
        completed_at=now if status == COMPLETE else None,
        due_at=now + RESCAN_INTERVAL if again else None,
        source_updated_at=report.source_updated_at,
        severity_counts=counts,
        platform=report.platform,
        architecture=architecture,
    )
    if not wanted:
        return
    if scan.scan_type == BASIC:
        events.on_scan(tx, job.repository, image, job.image.tags, status, counts, now)
    if status != COMPLETE:
        # What was found before is left for the next scan to be compared with.
        return
    before = {stored.identity: stored for stored in tx.scans.all_findings(image.id, scan.scan_type)}
    made = []
    for position, finding in enumerate(found, 1):
        identity = findings.identity(finding)
        first_observed_at = before[identity].first_observed_at if identity in before else now
        made.append(StoredFinding(position, identity, first_observed_at, to_builtins(finding)))
    if scan.scan_type == ENHANCED:
        registry = Registry(job.repository.account, job.repository.region)
        inspected = InspectedImage(registry, job.repository.name, job.image, report.platform, architecture)
        after = {
            stored.identity: Observation(finding, stored.first_observed_at, now, now)
            for stored, finding in zip(made, found, strict=True)
        }
        changes = _changes(before, after, scan.completed_at, now)
        described = (findings.describe(inspected, change) for change in changes)
        events.on_findings(tx, job.repository, described, now)
        if scan.completed_at is None:
            counted = {findings.severity(severity): count for severity, count in counts.items()}
            events.on_initial_scan(tx, job.repository, image, job.image.tags, counted, now)
    tx.scans.replace_findings(image.id, scan.scan_type, made)


def _changes(
    before: Mapping[str, StoredFinding],
    after: Mapping[str, Observation],
    last_observed_at: float | None,
    now: float,
) -> Iterator[Observation]:
    """Return the findings of a scan that are new or not what they were, and those that it closes.

    Both are by identity. ``last_observed_at`` is when those were made that were there before.
    """
    for identity, observation in after.items():
        if identity not in before or observation.finding != convert(before[identity].content, Finding):
            yield observation
    for identity, stored in before.items():
        if identity not in after:
            finding = convert(stored.content, Finding)
            yield Observation(finding, stored.first_observed_at, last_observed_at, now, CLOSED)


def _outcome(report: Report, scan_type: str) -> tuple[str, str]:
    """Return status and description; basic scanning has FAILED for what enhanced calls unsupported."""
    if report.status == UNSUPPORTED_IMAGE:
        description = report.description or _UNSUPPORTED
        return (FAILED if scan_type == BASIC else UNSUPPORTED_IMAGE), description
    return report.status, report.description


def _counts(findings: Iterable[Finding]) -> dict[str, int]:
    """Return the numbers of findings by severity, the worst first."""
    counts = Counter(finding.severity for finding in findings)
    return {severity: counts[severity] for severity in SEVERITIES if counts[severity]}


def _rank(finding: Finding) -> tuple[int, str, str, str]:
    worst_first = SEVERITIES.index(finding.severity)
    return worst_first, finding.name, finding.package_name, finding.package_version


async def take_up(emulator: Emulator, task: Task) -> None:
    """Have those images scanned that enhanced scanning was turned on for, a few in each transaction.

    Repositories that are scanned at other times than before are told of, a page of them in each event.
    """
    work = convert(task.payload, TakingUp)
    while names := await emulator.metadata.write(_take_up_repositories, task, work, emulator.clock.now()):
        for name in names:
            last: int | None = 0
            while last is not None:
                last = await emulator.metadata.write(_take_up_page, task, name, last, emulator.clock.now())
        work = replace(work, told=max(work.told, names[-1]), after=names[-1])
    await emulator.metadata.write(_end, task)


def _take_up_repositories(tx: Transaction, task: Task, work: TakingUp, now: float) -> list[str]:
    """Begin with a page of repositories, which is written down and told of, and return their names."""
    page = tx.repositories.page(task.account, task.region, work.after, _PAGE_SIZE)
    names = [repository.name for repository in page]
    if not names or not tx.tasks.note(task.id, to_builtins(replace(work, told=max(work.told, names[-1])))):
        return []
    if work.replacement is not None:
        changes = work.replacement.changes(repository for repository in page if repository.name > work.told)
        events.on_frequency_changes(tx, Registry(task.account, task.region), changes, now)
    return names


def _end(tx: Transaction, task: Task) -> None:
    tx.tasks.delete(task.id)


def _take_up_page(tx: Transaction, task: Task, name: str, after: int, now: float) -> int | None:
    """Have a page of a repository's images scanned; return where the next one begins, None for nowhere."""
    repository = tx.repositories.get(task.account, task.region, name)
    current = scanning.configuration(tx, Registry(task.account, task.region))
    if repository is None or current.scan_type != ENHANCED:
        return None
    applied = current.of_repository(repository)
    if applied.frequency == MANUAL:
        return None
    page = tx.images.page(repository.id, ImageFilter(status="ACTIVE"), after, _PAGE_SIZE)
    for image in page:
        if not scanning.is_scannable(image):
            continue
        if now < image.pushed_at + scanning.LOOKS_BACK:
            scanning.scan_again(tx, image, current, applied, now)
        else:
            scanning.pass_over(tx, image, now)
    return page[-1].id if page else None
