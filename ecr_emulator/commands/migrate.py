"""``ecr-emulator migrate``: moves what one configuration keeps to another."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from ecr_emulator import stores
from ecr_emulator.commands import bytes_text, counted, report
from ecr_emulator.core import migration
from ecr_emulator.core.emulator import StoresError
from ecr_emulator.core.migration import Migrated
from ecr_emulator.settings import Settings, SettingsError, load

DESCRIPTION = (
    "Copy everything that one configuration keeps to another, verifying it; also while a server is at work "
    "on the source. What it writes after the metadata were read is left behind: stop it, and run this again "
    "with --replace. A configuration is a data folder, or a TOML file with settings as serve --config takes."
)
SETTINGS = ()
# Seconds between two lines of progress.
_INTERVAL = 1.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's own flags."""
    parser.add_argument("--from", dest="source", required=True, metavar="CONFIGURATION", help="where it is")
    parser.add_argument(
        "--to", dest="target", required=True, metavar="CONFIGURATION", help="where it is to be"
    )
    parser.add_argument("--replace", action="store_true", help="give up what the target has")


async def run(_settings: Settings, options: argparse.Namespace) -> int:
    """Migrate. Raises StoresError."""
    source, target = _settings_of(options.source), _settings_of(options.target)
    if all(getattr(source, name) == getattr(target, name) for name in stores.SETTINGS):
        raise StoresError("source and target are the same")
    shown = time.monotonic()

    def copied(migrated: Migrated) -> None:
        nonlocal shown
        if time.monotonic() - shown > _INTERVAL:
            shown = time.monotonic()
            all_blobs = counted(max(migrated.all_blobs, migrated.seen), "blob")
            report(f"{migrated.seen} of {all_blobs}, {bytes_text(migrated.size)} copied")

    async with stores.opened(source) as opened, stores.opened(target, create=True) as made:
        migrated = await migration.migrate(opened, made, report, copied, replace=options.replace)
    report(
        f"migrated {counted(migrated.tally.repositories, 'repository')},"
        f" {counted(migrated.tally.images, 'image')}, {counted(migrated.rows, 'row')};"
        f" copied {migrated.blobs} of {counted(migrated.tally.blobs, 'blob')} ({bytes_text(migrated.size)})"
    )
    return 0


def _settings_of(text: str) -> Settings:
    path = Path(text)
    if path.is_file():
        try:
            return load({}, {}, path)
        except SettingsError as error:
            raise StoresError(str(error)) from None
    if path.suffix == ".toml":
        raise StoresError(f"{path} does not exist")
    return Settings(data_dir=text)
