"""Times as other scanners write them."""

from __future__ import annotations

import re
from datetime import datetime


def parse(text: str | None) -> float | None:
    """Return the seconds since 1970 of an RFC 3339 time, which may have nanoseconds."""
    try:
        return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text or "")).timestamp()
    except ValueError:
        return None
