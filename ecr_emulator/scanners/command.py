"""A scanner that the user has, such as Trivy or Grype, run on an image as an OCI image layout."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import shutil
import tempfile
from pathlib import Path

from msgspec.structs import replace

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
# Bytes of a configuration that are read for the layers that it names.
_MAX_CONFIG = 4 << 20


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
            # What is said of errors is shown by the API: without colours, that is.
            environment = os.environ | {"NO_COLOR": "1"}
            finished = await processes.run(words, timeout=self._timeout, environment=environment)
            report = await asyncio.to_thread(_report, finished.output, image)
        except OSError as error:
            return Report(FAILED, f"The image can't be laid out for the scan command: {error.strerror}")
        except processes.ProgramError as error:
            return Report(FAILED, f"The scan command has failed: {error}")
        except UnknownReportError as error:
            # A scanner that reports and still exits with an error, as it can for severe findings, is fine.
            said = (finished.errors if finished.code else "") or error
            return Report(FAILED, f"The scan command has failed with exit code {finished.code}: {said}")
        finally:
            await asyncio.to_thread(folder.cleanup)
        return report


def _report(output: bytes, image: ScannedImage) -> Report:
    """Return what the output says of an image, without what does not count in this kind of scan.

    Packages of a system that ECR does not scan count in none. Raises UnknownReportError.
    """
    report = parse(output)
    system = report.platform is not None
    if report.status == UNSUPPORTED_IMAGE or not (system or image.languages):
        return Report(UNSUPPORTED_IMAGE)
    layers = _layers_by_diff_id(image)
    findings = tuple(
        replace(finding, package_layer=layers.get(finding.package_layer, finding.package_layer))
        for finding in report.findings
        if (system if finding.package_manager == OS else image.languages)
    )
    return replace(report, findings=findings)


def _layers_by_diff_id(image: ScannedImage) -> dict[str | None, str]:
    """Return the digests of layers by those of what they have in them, by which Grype names them."""
    try:
        with image.config.path.open("rb") as file:
            diff_ids = json.loads(file.read(_MAX_CONFIG))["rootfs"]["diff_ids"]
        return dict(zip(diff_ids, (layer.digest for layer in image.layers), strict=True))
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return {}


def write_layout(folder: Path, image: ScannedImage) -> None:
    """Write an OCI image layout whose blobs are the store's files, or copies of them on another file system.

    Trivy reads no symbolic links: a layout from somewhere else could have others' files in it by them.
    """
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
    path, source = _blob_path(folder, blob.digest), blob.path.resolve()
    try:
        path.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, path)


def _blob_path(folder: Path, digest: str) -> Path:
    algorithm, _, encoded = digest.partition(":")
    path = folder / "blobs" / algorithm / encoded
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
