"""Commands beside ``serve``: each module has a command's flags, and runs it on the stores.

A module has ``SETTINGS``, the names of the settings that are flags of the command, too; ``configure``, which
adds its own; and ``run``, which returns the exit status.
"""

from __future__ import annotations

import sys


def report(line: str) -> None:
    """Tell of progress."""
    print(line, file=sys.stderr)


def bytes_text(size: int) -> str:
    """Return a number of bytes as people read it."""
    number, units = float(size), ["bytes", "KiB", "MiB", "GiB", "TiB"]
    while number >= 1024 and len(units) > 1:
        number, units = number / 1024, units[1:]
    return f"{number:.0f} {units[0]}" if units[0] == "bytes" else f"{number:.1f} {units[0]}"
