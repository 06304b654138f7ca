"""Commands beside ``serve``: each module has a command's flags, and runs it on the stores.

A module has ``SETTINGS``, the names of the settings that are flags of the command, too; ``configure``, which
adds its own; and ``run``, which returns the exit status.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from msgspec.structs import asdict

if TYPE_CHECKING:
    from ecr_emulator.core.garbage import Garbage
    from ecr_emulator.core.integrity import Tally


def report(line: str) -> None:
    """Tell of progress."""
    print(line, file=sys.stderr)


def shown(counts: Garbage | Tally) -> dict[str, Any]:
    """Return counts as JSON has them, where a size is a number of bytes."""
    return {{"size": "bytes"}.get(name, name): value for name, value in asdict(counts).items()}


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, as in ``1 repository`` and ``2 repositories``."""
    if number == 1:
        return f"1 {noun}"
    return f"{number} {noun[:-1]}ies" if noun.endswith("y") else f"{number} {noun}s"


def bytes_text(size: int) -> str:
    """Return a number of bytes as people read it."""
    number, units = float(size), ["bytes", "KiB", "MiB", "GiB", "TiB"]
    while number >= 1024 and len(units) > 1:
        number, units = number / 1024, units[1:]
    return f"{number:.0f} {units[0]}" if units[0] == "bytes" else f"{number:.1f} {units[0]}"
