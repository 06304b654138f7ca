"""``ecr-emulator seed``: brings registries to a described state."""

from __future__ import annotations

import argparse
from pathlib import Path

from ecr_emulator import stores
from ecr_emulator.commands import counted, report
from ecr_emulator.core import seeding
from ecr_emulator.settings import Settings

DESCRIPTION = (
    "Bring registries to the state that a TOML or JSON file describes; also while a server is at work, and "
    "again and again. serve --seed FILE does it when the server starts."
)
SETTINGS = (*stores.SETTINGS, "account_id", "region", "quotas")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's own flags."""
    parser.add_argument("file", type=Path, metavar="FILE", help="what there is to be, in TOML or JSON")


async def run(settings: Settings, options: argparse.Namespace) -> int:
    """Seed. Raises StoresError."""
    async with stores.opened(settings, create=True) as opened:
        seeded = await seeding.seed_from(opened, options.file)
    report(
        f"seeded {counted(seeded.repositories, 'repository')} and {counted(seeded.images, 'image')},"
        f" {seeded.new_images} of them new"
    )
    return 0
