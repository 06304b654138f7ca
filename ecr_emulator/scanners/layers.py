"""The scanner that needs nothing else: it reads packages from layers, and looks them up in a database."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import ecr_emulator
from ecr_emulator.scanners import processes
from ecr_emulator.scanners.base import COMPLETE, FAILED, OS, UNSUPPORTED_IMAGE, Report, ScannedImage
from ecr_emulator.scanners.database import VulnerabilityDatabase
from ecr_emulator.scanners.inventory import Inventory, ScanStoppedError, inventory_of

_NO_DATABASE = "No vulnerability database is configured (vulnerability_database), so nothing can be found."
# Seconds that the process has past the time it is to keep to by itself.
_GRACE = 5.0


class LayerScanner:
    """A Scanner over a vulnerability database, or without one, when it finds nothing.

    Layers are read in a process of their own, whose memory and time are limited.
    """

    def __init__(self, database: VulnerabilityDatabase | None, *, timeout: float, max_bytes: int) -> None:
        self._database = database
        self._timeout = timeout
        self._max_bytes = max_bytes

    async def scan(self, image: ScannedImage) -> Report:
        """Scan an image."""
        try:
            inventory = await self._inventory(image)
        except ScanStoppedError as error:
            return Report(error.status, str(error))
        return await asyncio.to_thread(self._report, image, inventory)

    async def _inventory(self, image: ScannedImage) -> Inventory:
        order = {
            "layers": [{"digest": layer.digest, "path": str(layer.path)} for layer in image.layers],
            "max_bytes": self._max_bytes,
            "max_seconds": self._timeout,
        }
        source = str(Path(ecr_emulator.__file__).parents[1])
        try:
            finished = await processes.run(
                [sys.executable, "-m", "ecr_emulator.scanners.inventory"],
                timeout=self._timeout + _GRACE,
                given=json.dumps(order).encode(),
                environment={**os.environ, "PYTHONPATH": os.pathsep.join((source, *filter(None, sys.path)))},
            )
            return inventory_of(json.loads(finished.output))
        except processes.ProgramError:
            raise ScanStoppedError(FAILED, "TimeoutError: The image took too long to scan.") from None
        except ValueError:
            raise ScanStoppedError(FAILED, "The process that reads layers has failed.") from None

    def _report(self, image: ScannedImage, inventory: Inventory) -> Report:
        system = inventory.distribution
        supported = system is not None and system.ecosystem is not None and inventory.has_database
        packages = [package for package in inventory.packages if package.manager == OS or image.languages]
        if not supported and not (image.languages and packages):
            return Report(UNSUPPORTED_IMAGE)
        platform = system.platform if supported and system is not None else None
        if self._database is None:
            return Report(COMPLETE, _NO_DATABASE, platform=platform)
        findings = self._database.findings(packages, system)
        return Report(
            COMPLETE,
            findings=tuple(findings),
            platform=platform,
            source_updated_at=self._database.modified_at(),
        )
