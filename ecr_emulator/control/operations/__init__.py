"""One coroutine for each operation, named after it, in the module of its noun.

It is given the Emulator, the Call and the decoded input, and returns the output's members, to be
encoded by the model. To add an operation is to write its function; it is found by its name.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Awaitable, Callable
from typing import Any

from ecr_emulator.control.model import operations
from ecr_emulator.core.call import Call
from ecr_emulator.core.emulator import Emulator

Input = dict[str, Any]
Output = dict[str, Any]
Perform = Callable[[Emulator, Call, Input], Awaitable[Output]]


_LASTING: set[Perform] = set()


def lasting(perform: Perform) -> Perform:
    """Mark an operation whose answer depends on the metadata, the caller and its input alone."""
    _LASTING.add(perform)
    return perform


def is_lasting(perform: Perform) -> bool:
    """Tell whether an operation's answer is right until something is written."""
    return perform in _LASTING


@functools.cache
def functions() -> dict[str, Perform]:
    """Return the functions of the operations that are there, by the operation's name."""
    by_name: dict[str, Perform] = {}
    for module_info in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{module_info.name}")
        for operation in operations().values():
            function = vars(module).get(operation.function)
            if function is not None and function.__module__ == module.__name__:
                by_name[operation.name] = function
    return by_name
