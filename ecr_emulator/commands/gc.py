"""``ecr-emulator gc``: removes what nothing uses."""

from __future__ import annotations

import argparse
import json

from ecr_emulator import stores
from ecr_emulator.commands import bytes_text, counted, shown
from ecr_emulator.core import garbage
from ecr_emulator.settings import Settings

DESCRIPTION = (
    "Remove uploads that nobody goes on with, layers that no image uses and blobs that no layer has, as a "
    "server does every hour; also while one is at work."
)
SETTINGS = (*stores.SETTINGS, "garbage_grace")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's own flags."""
    parser.add_argument("--dry-run", action="store_true", help="remove nothing, only tell what there is")
    parser.add_argument("--json", action="store_true", help="tell it as JSON")


async def run(settings: Settings, options: argparse.Namespace) -> int:
    """Collect garbage. Raises StoresError."""
    async with stores.opened(settings) as opened:
        found = await (garbage.find if options.dry_run else garbage.collect)(opened)
    if options.json:
        print(json.dumps(shown(found)))
    else:
        verb = "to be removed" if options.dry_run else "removed"
        print(
            f"{verb}: {counted(found.uploads, 'upload')}, {counted(found.layers, 'layer')},"
            f" {counted(found.blobs, 'blob')}"
            f" ({bytes_text(found.size)})"
        )
    return 0
