"""``ecr-emulator check``: verifies every digest and reference."""

from __future__ import annotations

import argparse
import json

from msgspec.structs import asdict

from ecr_emulator import stores
from ecr_emulator.commands import bytes_text, counted, shown
from ecr_emulator.core import integrity
from ecr_emulator.core.integrity import Finding, Tally
from ecr_emulator.settings import Settings

DESCRIPTION = (
    "Read every blob and every row, and report what does not have its digest or its counterpart; also while "
    "a server is at work. The exit status is 1 where there is damage."
)
SETTINGS = (*stores.SETTINGS, "layer_check")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's own flags."""
    parser.add_argument("--fast", action="store_true", help="do not read blobs: only look for them")
    parser.add_argument("--json", action="store_true", help="report as one JSON document")


async def run(settings: Settings, options: argparse.Namespace) -> int:
    """Check the stores. Raises StoresError."""
    tally, findings = Tally(), list[Finding]()
    async with stores.opened(settings) as opened:
        async for finding in integrity.check(opened, tally, fast=options.fast):
            findings.append(finding)
            if not options.json:
                kind = "damage" if finding.is_damage else "note"
                print(f"{kind}: {finding.subject}: {finding.problem}")
    damaged = sum(finding.is_damage for finding in findings)
    if options.json:
        print(
            json.dumps({"checked": shown(tally), "damage": damaged, "findings": list(map(asdict, findings))})
        )
    else:
        print(
            f"{counted(tally.repositories, 'repository')}, {counted(tally.images, 'image')},"
            f" {counted(tally.blobs, 'blob')}"
            f" ({bytes_text(tally.size)}): {f'{damaged} damaged' if damaged else 'no damage'}"
        )
    return 1 if damaged else 0
