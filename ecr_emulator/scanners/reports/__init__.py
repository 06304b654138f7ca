"""Reports of other scanners, told apart by their members: Trivy's and Grype's JSON. Pure."""

from __future__ import annotations

import json

from ecr_emulator.scanners.base import Report
from ecr_emulator.scanners.reports import grype, trivy


class UnknownReportError(ValueError):
    """The text is no report of a scanner that is known here."""


def parse(content: bytes) -> Report:
    """Return the report. Raises UnknownReportError."""
    try:
        document = json.loads(content)
        if isinstance(document, dict):
            if "SchemaVersion" in document:
                return trivy.report(document)
            if "matches" in document:
                return grype.report(document)
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        raise UnknownReportError(
            f"its output can't be understood ({type(error).__name__}: {error})"
        ) from None
    raise UnknownReportError("its output is neither Trivy's nor Grype's JSON")
