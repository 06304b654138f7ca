"""Errors that somebody asked for, to see what a client makes of them.

AWS tells no cause of some of the errors that its model declares, and others are hard to come by in a test.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from msgspec import Struct

from ecr_emulator.core import errors
from ecr_emulator.core.registry import Registry


class Fault(Struct):
    """An error with which the next calls of an operation are answered; nothing else comes of them."""

    operation: str
    error: type[errors.EcrError]
    message: str
    times: int | None
    """How many calls there are yet; None for all until faults are cleared."""

    account: str | None = None
    region: str | None = None
    """In which registries; None for any."""

    def strikes(self, registry: Registry, operations: Collection[str]) -> bool:
        """Tell whether it is meant for a request to a registry, which is all of these operations."""
        return (
            self.operation in operations
            and self.account in (None, registry.account)
            and self.region in (None, registry.region)
        )


class Faults:
    """The faults that are yet to come, in the order in which they were asked for."""

    def __init__(self) -> None:
        self._planned: list[Fault] = []

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._planned)

    @property
    def planned(self) -> Sequence[Fault]:
        """The faults, each with the number of times that are left of it."""
        return self._planned

    def plan(self, fault: Fault) -> None:
        """Add a fault, which comes after those for the same calls that are there."""
        self._planned.append(fault)

    def clear(self) -> None:
        """Let all calls be answered as they are."""
        self._planned.clear()

    def strike(self, registry: Registry, operations: Collection[str]) -> None:
        """Raise the error that is planned for a request, if there is one, which is one time less then."""
        fault = next((each for each in self._planned if each.strikes(registry, operations)), None)
        if fault is None:
            return
        if fault.times is not None:
            fault.times -= 1
            if not fault.times:
                self._planned.remove(fault)
        raise fault.error(fault.message)
