"""Findings that the user wrote down for images, so that a test knows what a scan will find.

The file is a JSON object by image: its digest, or ``repository:tag``. Each value is a list of findings
in the shape that ECR gives them (ImageScanFinding), or an object with ``findings``, ``status`` and
``description``. ``packageManager`` and ``fixedInVersion`` may be added to a finding.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from ecr_emulator.scanners import cvss
from ecr_emulator.scanners.base import (
    COMPLETE,
    FAILED,
    IMAGE_SIZE_EXCEEDED,
    OS,
    SEVERITIES,
    UNSUPPORTED_IMAGE,
    Cvss,
    Finding,
    Report,
    ScannedImage,
    Scanner,
    ScannerSetupError,
)

_STATUSES = (COMPLETE, FAILED, UNSUPPORTED_IMAGE, IMAGE_SIZE_EXCEEDED)
_MEMBERS = {"name", "description", "uri", "severity", "attributes", "packageManager", "fixedInVersion"}


class NotedFindings:
    """A Scanner that gives what is written down for an image, and asks another about all others.

    The file is read for each scan, so that it can change. Raises ScannerSetupError for one that can't
    be used.
    """

    def __init__(self, file: Path, others: Scanner) -> None:
        self._file = file
        self._others = others
        load(file)

    async def scan(self, image: ScannedImage) -> Report:
        """Scan an image."""
        try:
            reports = await asyncio.to_thread(load, self._file)
        except ScannerSetupError as error:
            return Report(FAILED, str(error))
        names = (image.digest, *(f"{image.repository}:{tag}" for tag in image.tags))
        noted = next((reports[name] for name in names if name in reports), None)
        return noted or await self._others.scan(image)


def load(file: Path) -> dict[str, Report]:
    """Return the reports by image. Raises ScannerSetupError."""
    try:
        document = json.loads(file.read_bytes())
        return {image: _report(noted) for image, noted in document.items()}
    except (OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        raise ScannerSetupError(
            f"can't read the scan findings {file}: {type(error).__name__}: {error}"
        ) from None


def _report(noted: Any) -> Report:
    if isinstance(noted, list):
        noted = {"findings": noted}
    status = noted.get("status", COMPLETE)
    if status not in _STATUSES:
        raise ValueError(f"status must be one of {', '.join(_STATUSES)}, not {status!r}")
    findings = tuple(_finding(entry) for entry in noted.get("findings", ()))
    return Report(status, noted.get("description", ""), findings)


def _finding(entry: dict[str, Any]) -> Finding:
    if unknown := sorted(entry.keys() - _MEMBERS):
        raise ValueError(f"a finding has unknown members: {', '.join(unknown)}")
    if entry["severity"] not in SEVERITIES:
        raise ValueError(f"severity must be one of {', '.join(SEVERITIES)}, not {entry['severity']!r}")
    attributes = {pair["key"]: str(pair.get("value", "")) for pair in entry.get("attributes", ())}
    vectors = [
        attributes[key] for key in ("CVSS4_VECTOR", "CVSS3_VECTOR", "CVSS2_VECTOR") if key in attributes
    ]
    return Finding(
        name=entry["name"],
        severity=entry["severity"],
        package_name=attributes.get("package_name", ""),
        package_version=attributes.get("package_version", ""),
        description=entry.get("description"),
        uri=entry.get("uri"),
        package_manager=entry.get("packageManager", OS),
        fixed_in=entry.get("fixedInVersion"),
        cvss=tuple(
            Cvss(scored[0], vector, scored[1], "NVD")
            for vector in vectors
            if (scored := cvss.base_score(vector)) is not None
        ),
    )
