"""CVSS base scores from their vectors, of the versions 2.0, 3.0, 3.1 and 4.0."""

from __future__ import annotations

_V3 = ("CVSS:3.0/", "CVSS:3.1/")
_V4 = "CVSS:4.0/"


def base_score(vector: str) -> tuple[str, float] | None:
    """Return the version and the base score of a vector, or None for one of no version known here.

    A score of 4.0 takes the threat and environmental metrics into account that its vector has: that
    version has one score, where the earlier ones have three.
    """
    from cvss import CVSS2, CVSS3, CVSS4
    from cvss.exceptions import CVSSError

    try:
        if vector.startswith(_V4):
            return "4.0", float(CVSS4(vector).base_score)
        if vector.startswith(_V3):
            return vector[5:8], float(CVSS3(vector).base_score)
        # NVD wrote them in parentheses for long.
        return "2.0", float(CVSS2(vector.strip("()")).base_score)
    except CVSSError:
        return None
