"""``ecr-emulator export``: writes registries as one tar."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ecr_emulator import stores
from ecr_emulator.commands import bytes_text, counted, report
from ecr_emulator.core import exporting
from ecr_emulator.core.emulator import StoresError
from ecr_emulator.settings import Settings

DESCRIPTION = (
    "Write registries, or one, as a tar of OCI image layouts and metadata; also while a server is at work. "
    "No secrets are in it."
)
SETTINGS = stores.SETTINGS
_STANDARD_OUTPUT = "-"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's own flags."""
    parser.add_argument("file", metavar="FILE", help="the tar to write; - is standard output")
    parser.add_argument("--account", metavar="ID", help="only the registries of an account")
    parser.add_argument("--region", metavar="REGION", help="only the registries in a region")


async def run(settings: Settings, options: argparse.Namespace) -> int:
    """Export. Raises StoresError."""
    async with stores.opened(settings) as opened:
        wanted = await exporting.registries(opened, options.account, options.region)
        if not wanted:
            raise StoresError("there is no such registry with anything in it")
        with _output(options.file) as file:

            async def write(content: bytes) -> None:
                await asyncio.to_thread(file.write, content)

            exported = await exporting.export(opened, wanted, write, report)
    report(
        f"exported {counted(exported.repositories, 'repository')}, {counted(exported.images, 'image')},"
        f" {counted(exported.blobs, 'blob')}"
        f" ({bytes_text(exported.size)})"
    )
    return 0


@contextlib.contextmanager
def _output(name: str) -> Iterator[IO[bytes]]:
    """Give what to write to; a file has its name once it is whole."""
    if name == _STANDARD_OUTPUT:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path, partial = Path(name), Path(f"{name}.partial")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
    except OSError as error:
        raise StoresError(f"can't write {path}: {error.strerror}") from None
    finally:
        partial.unlink(missing_ok=True)
