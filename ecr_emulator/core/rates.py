"""How many requests a second an operation takes in each registry, where the settings say so.

ECR has a bucket of credits for each operation, in each account and region, that fills up again at the
operation's rate (user guide, Troubleshooting Amazon ECR error messages).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ecr_emulator.core import errors
from ecr_emulator.core.registry import Registry

# Most buckets that are kept: callers can name any number of accounts and regions.
_MAX_BUCKETS = 10_000


class Rates:
    """Buckets of the operations that have a rate; a full one holds the credits of a second."""

    def __init__(self, limits: Mapping[str, int]) -> None:
        self._limits = limits
        self._buckets: dict[tuple[Registry, str], tuple[float, float]] = {}

    def spend(self, registry: Registry, operations: Collection[str], now: float) -> None:
        """Take a credit for each operation, or none where one has none left. Raises ThrottlingException.

        ``now`` is in seconds since 1970. Where the clock was put back, buckets fill up from there on.
        """
        if not self._limits:
            return
        left = {
            (registry, operation): self._credits(registry, operation, now)
            for operation in operations
            if operation in self._limits
        }
        is_allowed = all(saved >= 1 for saved in left.values())
        cost = 1 if is_allowed else 0
        self._buckets |= {bucket: (saved - cost, now) for bucket, saved in left.items()}
        if len(self._buckets) > _MAX_BUCKETS:
            # Those that were not used for a second are full, as those are that there are not.
            self._buckets = {bucket: state for bucket, state in self._buckets.items() if now < state[1] + 1}
        if not is_allowed:
            raise errors.ThrottlingException("Rate exceeded")

    def refill(self) -> None:
        """Give all buckets their credits back."""
        self._buckets.clear()

    def _credits(self, registry: Registry, operation: str, now: float) -> float:
        limit = self._limits[operation]
        saved, since = self._buckets.get((registry, operation), (float(limit), now))
        return min(limit, saved + max(0.0, now - since) * limit)
