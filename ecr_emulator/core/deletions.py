"""What a deletion sets off: each subscriber leaves its tasks in the transaction of the deletion.

A subscriber knows repositories and metadata and not ``core.images``, which calls it. Deleting a whole
repository announces nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from ecr_emulator.core import events, replication
from ecr_emulator.core.call import Call
from ecr_emulator.metadata.images import Image
from ecr_emulator.metadata.repositories import Repository
from ecr_emulator.metadata.store import Transaction


class Deletion(Struct, frozen=True):
    """An image is gone from its repository, or only one of its tags is."""

    repository: Repository
    image: Image
    tag: str | None
    """The tag that the image has no more; None where the image is gone with all its tags."""

    tags: Sequence[str]
    """All tags that it has no more: that one, or those that it had."""

    replicated: bool = False
    """Whether replication did it, which goes no further than one registry."""


Subscriber = Callable[[Transaction, Call, Deletion], None]

SUBSCRIBERS: tuple[Subscriber, ...] = (events.on_deletion, replication.on_deletion)


def announce(tx: Transaction, call: Call, deletion: Deletion) -> None:
    """Let each subscriber leave what it wants to be done."""
    for subscriber in SUBSCRIBERS:
        subscriber(tx, call, deletion)
