"""A scanner that the user has, such as Trivy or Grype, run on an image as an OCI image layout."""

from __future__ import annotations

import asyncio
import json
import shlex
import tempfile
from pathlib import Path

from ecr_emulator.scanners import processes
from ecr_emulator.scanners.base import (
    FAILED,
    OS,
    UNSUPPORTED_IMAGE,
    Report,
    ScannedBlob,
    ScannedImage,
    ScannerSetupError,
)
from ecr_emulator.scanners.reports import UnknownReportError, parse

_PLACEHOLDER = "{layout}"


class CommandScanner:
    """A Scanner that runs a command; ``{layout}`` in it is the folder with the image.

    Raises ScannerSetupError for a command that can't be split into words, or does not name the image.
    """

    def __init__(self, command: str, *, timeout: float) -> None:
        try:
            self._words = shlex.split(command)
        except ValueError as error:
            raise ScannerSetupError(f"scan_command can't be understood: {error}") from None
        if not any(_PLACEHOLDER in word for word in self._words):
            raise ScannerSetupError(
                f"scan_command must have {_PLACEHOLDER} where the image's folder is to stand"
            )
        self._timeout = timeout

    async def scan(self, image: ScannedImage) -> Report:
        """Scan an image."""
        folder = await asyncio.to_thread(tempfile.TemporaryDirectory, prefix="ecr-emulator-scan-")
        try:
            layout = Path(folder.name)
            await asyncio.to_thread(write_layout, layout, image)
            words = [word.replace(_PLACEHOLDER, str(layout)) for word in self._words]
            finished = await processes.run(words, timeout=self._timeout)
            report = await asyncio.to_thread(parse, finished.output)
        except processes.ProgramError as error:
            return Report(FAILED, f"The scan command has failed: {error}")
        except UnknownReportError as error:
            # A scanner that reports and still exits with an error, as it can for severe findings, is fine.
            said = finished.errors if finished.code else str(error)
            return Report(FAILED, f"The scan command has failed with exit code {finished.code}: {said}")
        finally:
            await asyncio.to_thread(folder.cleanup)
        return _of_image(report, image)


def _of_image(report: Report, image: ScannedImage) -> Report:
    """Leave out what does not count in this kind of scan."""
    if image.languages:
        return report
    if report.platform is None:
        return Report(UNSUPPORTED_IMAGE)
    findings = tuple(finding for finding in report.findings if finding.package_manager == OS)
    return Report(report.status, report.description, findings, report.platform, report.source_updated_at)


def write_layout(folder: Path, image: ScannedImage) -> None:
    """Write an OCI image layout whose blobs are links to the store's."""
    descriptor = {"mediaType": image.media_type, "digest": image.digest, "size": len(image.manifest)}
    index = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [descriptor],
    }
    (folder / "oci-layout").write_text(json.dumps({"imageLayoutVersion": "1.0.0"}))
    (folder / "index.json").write_text(json.dumps(index))
    _blob_path(folder, image.digest).write_bytes(image.manifest)
    for blob in {blob.digest: blob for blob in (image.config, *image.layers)}.values():
        _link(folder, blob)


def _link(folder: Path, blob: ScannedBlob) -> None:
    _blob_path(folder, blob.digest).symlink_to(blob.path.resolve())


def _blob_path(folder: Path, digest: str) -> Path:
    algorithm, _, encoded = digest.partition(":")
    path = folder / "blobs" / algorithm / encoded
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
