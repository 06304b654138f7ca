"""Which scanner the settings ask for."""

from __future__ import annotations

import asyncio
from pathlib import Path

from ecr_emulator.scanners.base import Report, ScannedImage, Scanner
from ecr_emulator.settings import Settings


class ChosenScanner:
    """The Scanner that the settings ask for. Raises ScannerSetupError for ones that it can't work with.

    Where they ask for none it is loaded with the first scan: the server must start quickly.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        asked = settings.scan_command or settings.scan_findings or settings.vulnerability_database
        self._scanner = _scanner(settings) if asked else None

    async def scan(self, image: ScannedImage) -> Report:
        """Scan an image."""
        if self._scanner is None:
            self._scanner = await asyncio.to_thread(_scanner, self._settings)
        return await self._scanner.scan(image)


def _scanner(settings: Settings) -> Scanner:
    """Return the scanner: what is written down for an image wins, for others a command, else the layers."""
    from ecr_emulator.scanners.command import CommandScanner
    from ecr_emulator.scanners.database import VulnerabilityDatabase
    from ecr_emulator.scanners.layers import LayerScanner
    from ecr_emulator.scanners.notes import NotedFindings

    folder = settings.vulnerability_database
    scanner: Scanner = (
        CommandScanner(settings.scan_command, timeout=settings.scan_timeout)
        if settings.scan_command
        else LayerScanner(
            VulnerabilityDatabase(Path(folder)) if folder else None,
            timeout=settings.scan_timeout,
            max_bytes=settings.scan_max_size << 20,
        )
    )
    return NotedFindings(Path(settings.scan_findings), scanner) if settings.scan_findings else scanner
