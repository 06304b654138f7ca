"""What a running server holds, and the part of it that commands beside a server have: the stores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ecr_emulator.blobs.base import BlobStore
from ecr_emulator.core.clock import Clock
from ecr_emulator.core.flights import Flights
from ecr_emulator.core.identities import Principals
from ecr_emulator.core.quotas import Quotas, UnknownQuotaError, changed
from ecr_emulator.core.seals import Seals
from ecr_emulator.core.secrets import Secrets
from ecr_emulator.core.upstream import Upstreams
from ecr_emulator.events.sinks.base import Sink
from ecr_emulator.events.trail import Trail
from ecr_emulator.metadata.store import MetadataStore
from ecr_emulator.scanners.base import Scanner
from ecr_emulator.settings import Settings


class StoresError(Exception):
    """Work on the stores can't be done; the message tells a person why."""


@dataclass(slots=True)
class Stores:
    """The stores with their settings and a clock: what work on registries needs that is no request's."""

    settings: Settings
    metadata: MetadataStore
    blobs: BlobStore
    clock: Clock


def limits_of(stores: Stores) -> Quotas:
    """Return the quotas that the settings give to a registry. Raises StoresError."""
    try:
        return changed(stores.settings.quotas)
    except UnknownQuotaError as error:
        raise StoresError(str(error)) from None


@dataclass(slots=True)
class Emulator(Stores):
    """One server's parts, given to every operation."""

    seals: Seals
    secrets: Secrets
    upstreams: Upstreams
    principals: Principals
    scanner: Scanner
    quotas: Quotas
    """How much there can be of something in a registry, by name."""
    ca_file: Path | None = None
    """The certificate of the CA that clients have to trust, in PEM, where the server has one of its own."""
    trail: Trail = field(default_factory=Trail)
    """What was called, by whom."""
    sinks: Sequence[Sink] = ()
    """Where events go."""
    flights: Flights = field(default_factory=Flights)
