"""Which rule applies to a repository, and how a scan stands."""

import pytest

from ecr_emulator.core import scanning
from ecr_emulator.core.scanning import Configuration, RepositoryScanning, Rule, matches_filter
from ecr_emulator.metadata.images import Image
from ecr_emulator.metadata.repositories import Repository
from ecr_emulator.metadata.scans import Scan

# The table of the user guide ("Filter wildcards").
NAMES = ("prod", "repo-prod", "prod-repo", "repo-prod-repo", "prodrepo")
FILTERS = {
    "prod": (True, True, True, True, True),
    "*prod": (True, True, False, False, False),
    "prod*": (True, False, True, False, True),
    "*prod*": (True, True, True, True, True),
    "prod*repo": (False, False, True, False, True),
}


@pytest.mark.parametrize("pattern", FILTERS)
def test_filters_match_as_the_user_guide_says(pattern):
    assert tuple(matches_filter(pattern, name) for name in NAMES) == FILTERS[pattern]


def repository(*, scan_on_push=False):
    return Repository(1, "0", "r", "prod", 0.0, "MUTABLE", (), scan_on_push, "AES256", None)


PUSH = Rule("SCAN_ON_PUSH", ("pro*", "other", "prod"))
CONTINUOUS = Rule("CONTINUOUS_SCAN", ("prod",))
ELSEWHERE = Rule("CONTINUOUS_SCAN", ("elsewhere",))


@pytest.mark.parametrize(
    ("configuration", "own", "expected"),
    [
        (Configuration(), False, ("MANUAL", ())),
        (Configuration(), True, ("SCAN_ON_PUSH", ())),
        (Configuration("BASIC", (PUSH,)), False, ("SCAN_ON_PUSH", ("pro*", "prod"))),
        (Configuration("BASIC", (Rule("MANUAL", ("*",)),)), False, ("MANUAL", ("*",))),
        (Configuration("BASIC", (Rule("SCAN_ON_PUSH", ("elsewhere",)),)), True, ("SCAN_ON_PUSH", ())),
        (Configuration("ENHANCED"), True, ("MANUAL", ())),
        (Configuration("ENHANCED", (PUSH,)), False, ("SCAN_ON_PUSH", ("pro*", "prod"))),
        (Configuration("ENHANCED", (PUSH, CONTINUOUS)), False, ("CONTINUOUS_SCAN", ("prod",))),
        (Configuration("ENHANCED", (PUSH, ELSEWHERE)), False, ("SCAN_ON_PUSH", ("pro*", "prod"))),
    ],
)
def test_one_rule_applies(configuration, own, expected):
    assert configuration.of_repository(repository(scan_on_push=own)) == RepositoryScanning(*expected)


DAY = 24 * 3600.0


def image(status="ACTIVE", pulled=None):
    return Image(1, 1, "sha256:ab", "m", None, None, None, None, 1, 1, 0.0, pulled, status)


def scan(scan_type, status, description=""):
    return Scan(1, scan_type, status, description, 0.0, None, None, None, {}, None, None)


@pytest.mark.parametrize(
    ("given", "frequency", "of", "now", "status"),
    [
        (scan("BASIC", "IN_PROGRESS"), "MANUAL", image(), 0, "IN_PROGRESS"),
        (scan("BASIC", "COMPLETE"), "SCAN_ON_PUSH", image(), 99 * DAY, "COMPLETE"),
        (scan("BASIC", "COMPLETE"), "MANUAL", image("ARCHIVED"), 0, "IMAGE_ARCHIVED"),
        (scan("ENHANCED", "PENDING"), "CONTINUOUS_SCAN", image(), 0, "PENDING"),
        (scan("ENHANCED", "COMPLETE"), "SCAN_ON_PUSH", image(), 99 * DAY, "COMPLETE"),
        (scan("ENHANCED", "COMPLETE"), "CONTINUOUS_SCAN", image(), 14 * DAY - 1, "ACTIVE"),
        (scan("ENHANCED", "COMPLETE"), "CONTINUOUS_SCAN", image(), 14 * DAY, "SCAN_ELIGIBILITY_EXPIRED"),
        (scan("ENHANCED", "COMPLETE"), "CONTINUOUS_SCAN", image(pulled=DAY), 15 * DAY - 1, "ACTIVE"),
        (scan("ENHANCED", "UNSUPPORTED_IMAGE"), "CONTINUOUS_SCAN", image(), 0, "UNSUPPORTED_IMAGE"),
    ],
)
def test_a_scan_stands_as_its_image_and_its_repository_do(given, frequency, of, now, status):
    shown = scanning.show(given, RepositoryScanning(frequency, ()), of, now)
    assert shown.status == status
    assert shown.has_findings is (status in ("COMPLETE", "ACTIVE"))


@pytest.mark.parametrize(
    ("artifact_type", "scannable"),
    [
        ("application/vnd.docker.container.image.v1+json", True),
        ("application/vnd.oci.image.config.v1+json", True),
        ("application/vnd.cncf.helm.config.v1+json", False),
        (None, False),
    ],
)
def test_container_images_can_be_scanned(artifact_type, scannable):
    of = Image(1, 1, "sha256:ab", "m", artifact_type, None, None, None, 1, 1, 0.0, None)
    assert scanning.is_scannable(of) is scannable
