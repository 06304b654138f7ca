"""Scanning configurations: what is scanned, how, and when a push sets off a scan.

Findings are scanned for and shown by ``core.scans``.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct, to_builtins

from ecr_emulator.core import errors, events
from ecr_emulator.core.call import Call
from ecr_emulator.core.names import matches_wildcard
from ecr_emulator.core.registry import Registry
from ecr_emulator.events.builders import FrequencyChange
from ecr_emulator.metadata.images import Image
from ecr_emulator.metadata.repositories import Repository
from ecr_emulator.metadata.scans import Scan
from ecr_emulator.metadata.store import Transaction
from ecr_emulator.metadata.tasks import AT_ONCE

if TYPE_CHECKING:
    from ecr_emulator.core.pushes import Push

ENGINE = "scans"

BASIC = "BASIC"
ENHANCED = "ENHANCED"
SCAN_ON_PUSH = "SCAN_ON_PUSH"
CONTINUOUS_SCAN = "CONTINUOUS_SCAN"
MANUAL = "MANUAL"

EXPIRED = "SCAN_ELIGIBILITY_EXPIRED"

# Seconds in which an image gets one basic scan, on push or by hand (user guide).
QUOTA_INTERVAL = 24 * 3600.0
# Seconds after its last push or pull for which an image is scanned continuously: Amazon Inspector's
# default re-scan duration.
ELIGIBILITY = 14 * 24 * 3600.0
# Seconds before enhanced scanning is turned on in which an image has to be pushed to be scanned then.
LOOKS_BACK = 30 * 24 * 3600.0

# The status of a scan that was asked for, until it was first performed.
REQUESTED = {BASIC: "IN_PROGRESS", ENHANCED: "PENDING"}

_VALUE = "scanning"
# The scan type that an organization's policy imposes.
_IMPOSED = "organization-scan-type"
# What a scan type's rules can ask for (documentation of RegistryScanningRule). The weightier comes first.
_FREQUENCIES = {BASIC: (SCAN_ON_PUSH, MANUAL), ENHANCED: (CONTINUOUS_SCAN, SCAN_ON_PUSH)}
_SCANNABLE = (
    "application/vnd.docker.container.image.v1+json",
    "application/vnd.oci.image.config.v1+json",
)


class Rule(Struct, frozen=True):
    """How often the repositories are scanned whose names match one of the filters."""

    frequency: str
    filters: tuple[str, ...]


class Configuration(Struct, frozen=True):
    """A registry's scanning configuration."""

    scan_type: str = BASIC
    rules: tuple[Rule, ...] = ()

    def of_repository(self, repository: Repository) -> RepositoryScanning:
        """Return how a repository is scanned.

        Of several rules that match, continuous scanning wins over scan on push; where none does, basic
        scanning goes by the repository's own setting, and enhanced scanning is off (user guide).
        """
        for frequency in _FREQUENCIES[self.scan_type]:
            applied = tuple(
                pattern
                for rule in self.rules
                if rule.frequency == frequency
                for pattern in rule.filters
                if matches_filter(pattern, repository.name)
            )
            if applied:
                return RepositoryScanning(frequency, applied)
        own = self.scan_type == BASIC and repository.scan_on_push
        return RepositoryScanning(SCAN_ON_PUSH if own else MANUAL, ())


class Replacement(Struct, frozen=True):
    """A configuration of enhanced scanning that took the place of another."""

    before: Configuration
    after: Configuration
    last_repository_id: int
    """Of the repositories that there were then; those that came later have known no other."""

    def changes(self, repositories: Iterable[Repository]) -> list[FrequencyChange]:
        """Return those of repositories' scan frequencies that it changed."""
        changes = []
        for repository in repositories:
            previous = self.before.of_repository(repository).frequency
            frequency = self.after.of_repository(repository).frequency
            if frequency != previous and repository.id <= self.last_repository_id:
                changes.append(_change(repository, frequency, previous))
        return changes


def _change(repository: Repository, frequency: str, previous: str) -> FrequencyChange:
    arn = Registry(repository.account, repository.region).repository_arn(repository.name)
    return FrequencyChange(repository.name, arn, frequency, previous)


class TakingUp(Struct, frozen=True):
    """What a configuration of enhanced scanning leaves to the engine, and how far that has come.

    It goes by the names of repositories.
    """

    replacement: Replacement | None = None
    """None in what was left by a version of the emulator that did not tell of it."""

    told: str = ""
    """Up to which changes of frequencies were told."""

    after: str = ""
    """Up to which images were taken up."""


def default_rules(scan_type: str) -> tuple[Rule, ...]:
    """Return the rules of a configuration that is set without any.

    Enhanced scanning then scans all repositories continuously (user guide, Enhanced scanning).
    """
    return (Rule(CONTINUOUS_SCAN, ("*",)),) if scan_type == ENHANCED else ()


class RepositoryScanning(Struct, frozen=True):
    """How a repository is scanned, and the filters that made it so."""

    frequency: str
    filters: tuple[str, ...]


def matches_filter(pattern: str, name: str) -> bool:
    """Tell whether a repository's name matches a filter; one without a wildcard matches any part of it."""
    return matches_wildcard(pattern if "*" in pattern else f"*{pattern}*", name)


def configuration(tx: Transaction, registry: Registry) -> Configuration:
    """Return a registry's scanning configuration, or the one that every registry begins with."""
    text = tx.registry_values.get(registry.account, registry.region, _VALUE)
    if text is None:
        return Configuration()
    value = json.loads(text)
    rules = tuple(Rule(frequency, tuple(filters)) for frequency, filters in value["rules"])
    return Configuration(value["scan_type"], rules)


def configure(tx: Transaction, call: Call, wanted: Configuration) -> None:
    """Set the registry's scanning configuration.

    Enhanced scanning then looks for the images that it has not scanned yet. Raises InvalidParameterException,
    and BlockedByOrganizationPolicyException where a policy imposes the other scan type (``impose``).
    """
    _check(wanted)
    imposed = tx.registry_values.get(call.registry.account, call.registry.region, _IMPOSED)
    if imposed not in (None, wanted.scan_type):
        raise errors.BlockedByOrganizationPolicyException(
            "The operation did not succeed because the account is managed by an organization policy."
        )
    _put(tx, call.registry, wanted)


def impose(tx: Transaction, registry: Registry, scan_type: str | None) -> None:
    """Bring a registry under an organization's policy for Amazon Inspector, or with None from under it.

    Such a policy enables Inspector's scans of ECR in a region or disables them, which takes precedence over
    what the account wants, and says nothing of the rules (Organizations user guide, Amazon Inspector
    policies). Where it changes the scan type, the registry gets the rules with which that begins: Inspector
    scans all repositories continuously.
    """
    if scan_type is None:
        tx.registry_values.delete(registry.account, registry.region, _IMPOSED)
        return
    tx.registry_values.put(registry.account, registry.region, _IMPOSED, scan_type)
    if configuration(tx, registry).scan_type != scan_type:
        _put(tx, registry, Configuration(scan_type, default_rules(scan_type)))


def _put(tx: Transaction, registry: Registry, wanted: Configuration) -> None:
    account, region = registry.account, registry.region
    before = configuration(tx, registry)
    value = {
        "scan_type": wanted.scan_type,
        "rules": [[rule.frequency, rule.filters] for rule in wanted.rules],
    }
    tx.registry_values.put(account, region, _VALUE, json.dumps(value))
    if wanted.scan_type == ENHANCED:
        replacement = Replacement(before, wanted, tx.repositories.last_id())
        tx.tasks.add(ENGINE, account, region, to_builtins(TakingUp(replacement)))


def _check(wanted: Configuration) -> None:
    frequencies = [rule.frequency for rule in wanted.rules]
    for frequency in frequencies:
        if frequency not in _FREQUENCIES[wanted.scan_type]:
            raise _invalid(f"scan frequency {frequency} is not supported with scan type {wanted.scan_type}")
    if len(set(frequencies)) < len(frequencies):
        raise _invalid("each scan frequency can have one rule only")


def _invalid(constraint: str) -> errors.InvalidParameterException:
    return errors.InvalidParameterException(
        f"Invalid parameter at 'rules' failed to satisfy constraint: '{constraint}'"
    )


def of_repositories(
    tx: Transaction, call: Call, names: Sequence[str]
) -> tuple[list[tuple[Repository, RepositoryScanning]], list[str]]:
    """Return how repositories are scanned, and the names of those that do not exist."""
    current = configuration(tx, call.registry)
    found, missing = [], []
    for name in dict.fromkeys(names):
        repository = tx.repositories.get(call.registry.account, call.registry.region, name)
        if repository is None:
            missing.append(name)
        else:
            found.append((repository, current.of_repository(repository)))
    return found, missing


def is_scannable(image: Image) -> bool:
    """Tell whether it is a container image, and neither an index nor another kind of artifact."""
    return image.artifact_type in _SCANNABLE


def on_creation(tx: Transaction, repository: Repository, now: float) -> None:
    """Tell of a repository that enhanced scanning scans from its creation on, which nothing has before."""
    registry = Registry(repository.account, repository.region)
    current = configuration(tx, registry)
    frequency = current.of_repository(repository).frequency
    if current.scan_type == ENHANCED and frequency != MANUAL:
        events.on_frequency_changes(tx, registry, [_change(repository, frequency, MANUAL)], now)


def on_push(tx: Transaction, call: Call, push: Push) -> None:
    """Have an image scanned that was pushed, if its repository is set so."""
    if not is_scannable(push.image):
        return
    registry = Registry(push.repository.account, push.repository.region)
    current = configuration(tx, registry)
    scanning = current.of_repository(push.repository)
    if scanning.frequency != MANUAL:
        scan_again(tx, push.image, current, scanning, call.now)


def scan_again(
    tx: Transaction, image: Image, current: Configuration, scanning: RepositoryScanning, now: float
) -> None:
    """Have an image scanned that is to be scanned without being asked, unless that was done or is to be."""
    last = tx.scans.get(image.id, current.scan_type)
    is_over = current.scan_type == BASIC and last is not None and not is_within_quota(last, now)
    if last is None or last.status == EXPIRED or is_over:
        request(tx, image, current.scan_type, now)
    elif scanning.frequency == CONTINUOUS_SCAN and last.due_at is None and is_eligible(image, now):
        tx.scans.schedule(last, now)


def is_within_quota(last: Scan, now: float) -> bool:
    """Tell whether the day is not over for which an image has had its scan."""
    return now < last.requested_at + QUOTA_INTERVAL


def request(tx: Transaction, image: Image, scan_type: str, now: float) -> None:
    """Have an image scanned; what an earlier scan found is given up."""
    tx.scans.request(image.id, scan_type, REQUESTED[scan_type], now, AT_ONCE)


def pass_over(tx: Transaction, image: Image, now: float) -> None:
    """Say of an image that was too old when enhanced scanning was turned on that it is not scanned.

    It is once it is pushed again (user guide, Considerations for enhanced scanning).
    """
    if tx.scans.get(image.id, ENHANCED) is None:
        tx.scans.request(image.id, ENHANCED, EXPIRED, now, due_at=None)


def is_eligible(image: Image, now: float) -> bool:
    """Tell whether an image is not too old to be scanned continuously."""
    return now < max(image.pushed_at, image.last_pulled_at or 0.0) + ELIGIBILITY


class ShownScan(Struct, frozen=True):
    """A scan as it stands now."""

    scan: Scan
    status: str
    description: str

    @property
    def has_findings(self) -> bool:
        """Whether there is what it found, be it nothing."""
        return self.status in ("COMPLETE", "ACTIVE")


def show(scan: Scan, scanning: RepositoryScanning, image: Image, now: float) -> ShownScan:
    """Return an image's scan as it stands now: continuous ones stay active until eligibility ends."""
    if image.status == "ARCHIVED":
        return ShownScan(scan, "IMAGE_ARCHIVED", "The image is archived.")
    is_continuous = scan.scan_type == ENHANCED and scanning.frequency == CONTINUOUS_SCAN
    has_lapsed = scan.status == "COMPLETE" and is_continuous and not is_eligible(image, now)
    if scan.status == EXPIRED or has_lapsed:
        return ShownScan(scan, EXPIRED, "The scan duration has lapsed for the image.")
    if scan.status != "COMPLETE":
        return ShownScan(scan, scan.status, scan.description)
    status, description = "COMPLETE", "The scan was completed successfully."
    if is_continuous:
        status, description = "ACTIVE", "Continuous scan is selected for image."
    return ShownScan(scan, status, f"{description} {scan.description}".rstrip())


def of_images(
    tx: Transaction, call: Call, repository: Repository, images: Collection[Image]
) -> dict[int, ShownScan]:
    """Return the scans of a repository's images that the registry's scan type shows, by image."""
    current = configuration(tx, call.registry)
    scanning = current.of_repository(repository)
    scans = tx.scans.of_images([image.id for image in images], current.scan_type)
    return {
        image.id: show(scans[image.id], scanning, image, call.now) for image in images if image.id in scans
    }


def shown_with_images(
    tx: Transaction, call: Call, repository: Repository, images: Collection[Image]
) -> dict[int, ShownScan]:
    """Return the scans that DescribeImages shows: none of basic scanning.

    Its only version, AWS_NATIVE, leaves them to DescribeImageScanFindings (documentation of DescribeImages).
    """
    if configuration(tx, call.registry).scan_type == BASIC:
        return {}
    return of_images(tx, call, repository, images)
