"""Package URLs, by which scanners name packages (https://github.com/package-url/purl-spec)."""

from __future__ import annotations

from urllib.parse import parse_qs


def architecture(purl: str | None) -> str | None:
    """Return the architecture that a package URL tells."""
    query = (purl or "").partition("#")[0].partition("?")[2]
    return parse_qs(query).get("arch", [None])[0]
