"""``ecr-emulator import``: brings back what ``export`` wrote."""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from pathlib import Path

from ecr_emulator import stores
from ecr_emulator.commands import bytes_text, counted, report
from ecr_emulator.core import importing
from ecr_emulator.core.emulator import StoresError
from ecr_emulator.core.registry import Registry
from ecr_emulator.settings import Settings

DESCRIPTION = (
    "Bring registries to what a tar of export says, verifying every digest; also while a server is at work. "
    "What is there besides stays. Run it again where it was cut short."
)
SETTINGS = (*stores.SETTINGS, "quotas")
_STANDARD_INPUT = "-"
_REGISTRY = re.compile(r"(\d{12})/([0-9a-z-]{2,25})")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's own flags."""
    parser.add_argument(
        "file", metavar="FILE", help="the tar to read, compressed or not; - is standard input"
    )
    parser.add_argument(
        "--into",
        type=_registry,
        metavar="ACCOUNT/REGION",
        help="the registry that the only one of an export becomes",
    )


def _registry(text: str) -> Registry:
    match = _REGISTRY.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} has not the form ACCOUNT/REGION")
    return Registry(*match.groups())


async def run(settings: Settings, options: argparse.Namespace) -> int:
    """Import. Raises StoresError."""
    async with stores.opened(settings, create=True) as opened:
        if options.file == _STANDARD_INPUT:
            imported = await importing.restore(opened, sys.stdin.buffer, report, options.into)
        else:
            try:
                file = await asyncio.to_thread(Path(options.file).open, "rb")
            except OSError as error:
                raise StoresError(f"can't read {options.file}: {error.strerror}") from None
            with file:
                imported = await importing.restore(opened, file, report, options.into)
    report(
        f"imported {counted(imported.repositories, 'repository')}, {counted(imported.images, 'image')},"
        f" {counted(imported.blobs, 'new blob')} ({bytes_text(imported.size)})"
    )
    return 0
