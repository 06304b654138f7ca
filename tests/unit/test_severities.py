"""CVSS scores, and the severities that they and vendors' words stand for."""

import pytest

from ecr_emulator.scanners import severity
from ecr_emulator.scanners.base import Cvss
from ecr_emulator.scanners.cvss import base_score


# Scores that the National Vulnerability Database and the specifications' examples give.
@pytest.mark.parametrize(
    ("vector", "scored"),
    [
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", ("3.1", 9.8)),
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H", ("3.1", 10.0)),
        ("CVSS:3.1/AV:L/AC:H/PR:N/UI:N/S:C/C:H/I:H/A:H", ("3.1", 8.1)),
        ("CVSS:3.0/AV:N/AC:L/PR:N/UI:R/S:C/C:L/I:L/A:N", ("3.0", 6.1)),
        ("CVSS:3.1/AV:N/AC:H/PR:N/UI:R/S:U/C:L/I:N/A:N", ("3.1", 3.1)),
        ("CVSS:3.1/AV:N/AC:L/PR:L/UI:N/S:C/C:L/I:L/A:N", ("3.1", 6.4)),
        ("CVSS:3.1/AV:P/AC:L/PR:H/UI:R/S:U/C:N/I:N/A:N", ("3.1", 0.0)),
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H/E:P", ("3.1", 7.5)),
        ("AV:L/AC:L/Au:N/C:P/I:P/A:P", ("2.0", 4.6)),
        ("(AV:N/AC:L/Au:N/C:C/I:C/A:C)", ("2.0", 10.0)),
        ("AV:N/AC:L/Au:N/C:N/I:N/A:C", ("2.0", 7.8)),
        ("AV:L/AC:H/Au:N/C:N/I:N/A:N", ("2.0", 0.0)),
        ("CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N", None),
        ("CVSS:3.1/AV:N", None),
        ("CVSS:3.1/AV", None),
        ("7.5", None),
    ],
)
def test_base_scores(vector, scored):
    assert base_score(vector) == scored


def test_a_stated_score_stands_for_one_that_is_not_calculated():
    assert base_score("CVSS:4.0/AV:N/AC:L", 9.3) == ("4.0", 9.3)
    assert base_score("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", 1.0) == ("3.1", 9.8)
    assert base_score("CVSS:3.1/AV:N", 9.3) is None


@pytest.mark.parametrize(
    ("score", "version", "expected"),
    [
        (9.0, "3.1", "CRITICAL"),
        (8.9, "3.1", "HIGH"),
        (4.0, "3.0", "MEDIUM"),
        (0.1, "3.1", "LOW"),
        (0.0, "3.1", "INFORMATIONAL"),
        (10.0, "2.0", "HIGH"),
        (6.9, "2.0", "MEDIUM"),
        (0.0, "2.0", "LOW"),
    ],
)
def test_a_score_has_a_severity(score, version, expected):
    assert severity.of_score(score, version) == expected


V2, V3 = Cvss("2.0", "", 7.5, "NVD"), Cvss("3.1", "", 9.8, "NVD")


@pytest.mark.parametrize(
    ("words", "scores", "expected"),
    [
        (["unimportant"], [V3], "INFORMATIONAL"),
        (["not yet assigned"], [V2, V3], "CRITICAL"),
        (["not yet assigned", "MODERATE"], [V3], "MEDIUM"),
        ([None, "Important"], [], "HIGH"),
        ([], [V2], "HIGH"),
        ([], [], "UNDEFINED"),
        (["whatever"], [], "UNDEFINED"),
    ],
)
def test_the_vendors_word_wins_over_the_newest_score(words, scores, expected):
    assert severity.choose(words, scores) == expected
