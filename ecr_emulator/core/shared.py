"""What servers over one store have in common and keep in memory: the clock's offset, and the key of seals.

A change is made in the store. The server that makes it knows of it at once, others within a second or so.
"""

from __future__ import annotations

import asyncio
import logging
from typing import NoReturn

from ecr_emulator.core import clock, seals
from ecr_emulator.core.clock import Clock
from ecr_emulator.core.emulator import Emulator
from ecr_emulator.core.seals import Seals
from ecr_emulator.metadata.store import MetadataStore, Transaction

_logger = logging.getLogger(__name__)

# Seconds between two looks at what other servers have changed.
INTERVAL = 1.0


async def load(metadata: MetadataStore, offset: float | None, *, joins: bool) -> tuple[Clock, Seals]:
    """Return the clock and the seals of a server that starts.

    One that ``joins`` others takes the clock that is there, and only the first of them one with ``offset``.
    """
    kept, key = await metadata.write(_load, offset, joins=joins)
    return Clock(kept), Seals(key)


def _load(tx: Transaction, offset: float | None, *, joins: bool) -> tuple[float, str]:
    kept = clock.find_offset(tx)
    if kept is None or not joins:
        kept = clock.set_offset(tx, offset or 0.0)
    return kept, seals.load_key(tx)


async def follow(emulator: Emulator) -> NoReturn:
    """Take over what other servers change, until this is cancelled."""
    while True:
        await asyncio.sleep(INTERVAL)
        known = emulator.clock.offset, emulator.seals.key
        try:
            offset, key = await emulator.metadata.read(_find)
        except Exception as error:
            _logger.warning("the clock and the key of other servers are not known: %s", error)
            continue
        # What this server has changed meanwhile is newer.
        if (emulator.clock.offset, emulator.seals.key) == known:
            emulator.clock.offset, emulator.seals.key = offset, key


def _find(tx: Transaction) -> tuple[float, str]:
    return clock.find_offset(tx) or 0.0, seals.find_key(tx) or ""


async def renew(emulator: Emulator) -> None:
    """Go back to real time, and make a new key: nothing that was sealed before opens any more."""
    emulator.clock.offset, emulator.seals.key = await emulator.metadata.write(_renew)


def _renew(tx: Transaction) -> tuple[float, str]:
    return clock.set_offset(tx, 0.0), seals.renew_key(tx)
