"""Python's metadata of an installed distribution (core metadata specification)."""

from __future__ import annotations

from ecr_emulator.scanners.packages import PYTHON, Package
from ecr_emulator.scanners.readers import fields

_WANTED = frozenset({"Name", "Version"})


def read(content: bytes) -> list[Package]:
    """Return the distribution that the metadata is of."""
    # The headers end at the first blank line; a description can follow.
    headers = content.decode(errors="replace").replace("\r\n", "\n").partition("\n\n")[0]
    found = fields.parse(headers, _WANTED)
    return [Package(found["Name"], found["Version"], PYTHON)] if len(found) == len(_WANTED) else []
