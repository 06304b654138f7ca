"""Python's versions, in the order of the version specifiers specification (PEP 440)."""

from __future__ import annotations

import re
from math import inf
from typing import Any

_VERSION = re.compile(
    r"v?(?:(?P<epoch>[0-9]+)!)?(?P<release>[0-9]+(?:\.[0-9]+)*)"
    r"(?:[-_.]?(?P<pre>alpha|a|beta|b|preview|pre|c|rc)[-_.]?(?P<pre_number>[0-9]*))?"
    r"(?P<post>-(?P<bare_post>[0-9]+)|[-_.]?(?:post|rev|r)[-_.]?(?P<post_number>[0-9]*))?"
    r"(?P<dev>[-_.]?dev[-_.]?(?P<dev_number>[0-9]*))?"
    r"(?:\+(?P<local>[a-z0-9]+(?:[-_.][a-z0-9]+)*))?"
)
_PHASES = {"alpha": "a", "beta": "b", "c": "rc", "pre": "rc", "preview": "rc"}


def key(version: str) -> Any:
    """Return a value that sorts as the version does. Raises ValueError."""
    match = _VERSION.fullmatch(version.strip().lower())
    if match is None:
        raise ValueError(version)
    release = [int(number) for number in match["release"].split(".")]
    while len(release) > 1 and release[-1] == 0:
        release.pop()
    post = int(match["bare_post"] or match["post_number"] or 0) if match["post"] else None
    dev = int(match["dev_number"] or 0) if match["dev"] else None
    return (
        int(match["epoch"] or 0),
        release,
        _phase(match, post, dev),
        -1 if post is None else post,
        inf if dev is None else dev,
        _local(match["local"]),
    )


def _phase(match: re.Match[str], post: int | None, dev: int | None) -> tuple[Any, ...]:
    if match["pre"] is not None:
        return (1, _PHASES.get(match["pre"], match["pre"]), int(match["pre_number"] or 0))
    # 1.0.dev1 comes before 1.0a1, and 1.0 after every 1.0 that leads up to it.
    return (0,) if post is None and dev is not None else (2,)


def _local(text: str | None) -> tuple[Any, ...]:
    if text is None:
        return ()
    return tuple((1, int(part)) if part.isdigit() else (0, part) for part in re.split(r"[-_.]", text))
