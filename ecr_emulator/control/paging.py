"""``nextToken``: where a page ended, sealed so that it can't be forged or used for another list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from ecr_emulator.core import errors
from ecr_emulator.core.call import Call
from ecr_emulator.core.emulator import Emulator
from ecr_emulator.core.seals import InvalidSealError

T = TypeVar("T")

# The documentation of maxResults: up to 100 results where it is not used.
DEFAULT_LIMIT = 100


def page_limit(given: dict[str, Any], default: int = DEFAULT_LIMIT) -> int:
    """Return how many results a page may have."""
    return int(given.get("maxResults", default))


def start_of_page(emulator: Emulator, call: Call, list_name: str, given: dict[str, Any], start: T) -> T:
    """Return the position after which the page begins: ``start``, or what nextToken says.

    ``list_name`` names the list and its filters. Raises InvalidParameterException for a token
    that the server did not give for this list.
    """
    token = given.get("nextToken")
    if token is None:
        return start
    try:
        position = emulator.seals.open(_purpose(call, list_name), token)
    except InvalidSealError:
        raise errors.InvalidParameterException(
            "Invalid parameter at 'nextToken' failed to satisfy constraint: 'Invalid token'"
        ) from None
    return type(start)(position)  # type: ignore[call-arg]


def next_token(emulator: Emulator, call: Call, list_name: str, position: object) -> str:
    """Return the token of the page that follows ``position``."""
    return emulator.seals.seal(_purpose(call, list_name), position)


def split_page(results: Sequence[T], limit: int) -> tuple[Sequence[T], T | None]:
    """Cut ``limit`` + 1 results to a page, and return its last one if another page follows."""
    return results[:limit], results[limit - 1] if len(results) > limit else None


def _purpose(call: Call, list_name: str) -> str:
    return f"next-token:{call.registry.account}:{call.registry.region}:{list_name}"
