"""What a push sets off: each subscriber leaves its tasks in the transaction of the push.

A subscriber knows repositories and metadata and not ``core.images``, which calls it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from msgspec import Struct

from ecr_emulator.core import events, replication, scanning, signing
from ecr_emulator.core.call import Call
from ecr_emulator.metadata.images import Image
from ecr_emulator.metadata.repositories import Repository
from ecr_emulator.metadata.store import Transaction

# Where an image comes from: a client, another registry, an upstream registry, or the archive.
Origin = Literal["client", "replication", "upstream", "archive"]


class Push(Struct, frozen=True):
    """An image was stored, a tag was pointed at one, or both."""

    repository: Repository
    image: Image
    tag: str | None
    is_new: bool
    """Whether the image was not in the repository before."""

    origin: Origin = "client"
    """What replication brings goes no further than one registry."""


Subscriber = Callable[[Transaction, Call, Push], None]

SUBSCRIBERS: tuple[Subscriber, ...] = (
    events.on_push,
    replication.on_push,
    signing.leave_tasks,
    scanning.on_push,
)


def announce(tx: Transaction, call: Call, push: Push) -> None:
    """Let each subscriber leave what it wants to be done."""
    for subscriber in SUBSCRIBERS:
        subscriber(tx, call, push)
