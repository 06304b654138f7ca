"""What happens after a call or beside it: one module for each kind of work.

An engine does what is due by the server's clock, and can be told to do it now (``POST
/_emulator/run/NAME``), so that no test has to sleep. Work that a call leaves behind is a task, a row
written in the call's own transaction; core decides what is to be done, an engine only when.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from msgspec import Struct

from ecr_emulator.core.emulator import Emulator

Run = Callable[[Emulator], Awaitable[int]]


class Engine(Struct, frozen=True):
    """One kind of work. Both functions return how many pieces of it were done.

    ``run_due`` does what the clock says, again and again while the server runs; ``run_now`` is for
    people and tests that do not want to wait for a schedule of hours.
    """

    name: str
    run_due: Run
    run_now: Run
