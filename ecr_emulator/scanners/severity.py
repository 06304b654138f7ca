"""Severities: ECR's, from the words that vendors use and from CVSS scores."""

from __future__ import annotations

from collections.abc import Iterable

from ecr_emulator.scanners.base import Cvss

_WORDS = {
    "critical": "CRITICAL",
    "high": "HIGH",
    "important": "HIGH",
    "medium": "MEDIUM",
    "moderate": "MEDIUM",
    "low": "LOW",
    "minor": "LOW",
    "negligible": "INFORMATIONAL",
    "unimportant": "INFORMATIONAL",
    "informational": "INFORMATIONAL",
    "none": "INFORMATIONAL",
}


def of_word(word: str | None) -> str | None:
    """Return the severity that a vendor's word stands for, or None for one that stands for none."""
    return _WORDS.get(word.strip().lower()) if word else None


def of_score(score: float, version: str) -> str:
    """Return the severity that the National Vulnerability Database gives to a CVSS base score.

    CVSS 4.0 has the ranges of 3.x (specification, Qualitative Severity Rating Scale).
    """
    if version.startswith("2"):
        return "HIGH" if score >= 7 else "MEDIUM" if score >= 4 else "LOW"
    for least, severity in ((9.0, "CRITICAL"), (7.0, "HIGH"), (4.0, "MEDIUM"), (0.1, "LOW")):
        if score >= least:
            return severity
    return "INFORMATIONAL"


def newest(scores: Iterable[Cvss]) -> Cvss | None:
    """Return the score of the newest CVSS version, the first where several have it."""
    return max(scores, key=lambda cvss: cvss.version, default=None)


def choose(words: Iterable[str | None], scores: Iterable[Cvss]) -> str:
    """Return the severity of a vulnerability: the vendor's, else that of its newest CVSS score.

    So says the user guide on basic scanning; what has neither is UNDEFINED.
    """
    for word in words:
        if severity := of_word(word):
            return severity
    score = newest(scores)
    return "UNDEFINED" if score is None else of_score(score.score, score.version)
