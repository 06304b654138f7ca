"""The grammars of names: repositories and tags."""

from __future__ import annotations

import re
from functools import lru_cache

_REPOSITORY = re.compile(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*")
# The OCI distribution specification's grammar for tags.
TAG_PATTERN = "[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}"
_TAG = re.compile(TAG_PATTERN)


def is_repository_name(text: str) -> bool:
    """Tell whether a text is a repository name (botocore's model, RepositoryName)."""
    return 2 <= len(text) <= 256 and _REPOSITORY.fullmatch(text) is not None


def is_tag(text: str) -> bool:
    """Tell whether a text can be an image tag."""
    return _TAG.fullmatch(text) is not None


def matches_wildcard(pattern: str, text: str) -> bool:
    """Tell whether a text matches a filter in which ``*`` stands for any characters."""
    return _wildcard(pattern).fullmatch(text) is not None


@lru_cache(maxsize=1024)
def _wildcard(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, pattern.split("*"))))
