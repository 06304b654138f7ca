"""What a running server holds: settings, stores, locks, clock, key, upstreams, scanner, principals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ecr_emulator.blobs.base import BlobStore
from ecr_emulator.core.clock import Clock
from ecr_emulator.core.encryption import NO_ENCRYPTION, Encryption
from ecr_emulator.core.flights import Flights
from ecr_emulator.core.identities import Principals
from ecr_emulator.core.quotas import Quotas
from ecr_emulator.core.seals import Seals
from ecr_emulator.core.secrets import Secrets
from ecr_emulator.core.upstream import Upstreams
from ecr_emulator.events.sinks.base import Sink
from ecr_emulator.events.trail import Trail
from ecr_emulator.metadata.locks import Locks
from ecr_emulator.metadata.store import MetadataStore
from ecr_emulator.scanners.base import Scanner
from ecr_emulator.settings import Settings


@dataclass(slots=True)
class Emulator:
    """One server's parts, given to every operation."""

    settings: Settings
    metadata: MetadataStore
    locks: Locks
    blobs: BlobStore
    clock: Clock
    seals: Seals
    secrets: Secrets
    upstreams: Upstreams
    principals: Principals
    scanner: Scanner
    quotas: Quotas
    """How much there can be of something in a registry, by name."""
    encryption: Encryption = NO_ENCRYPTION
    ca_file: Path | None = None
    """The certificate of the CA that clients have to trust, in PEM, where the server has one of its own."""
    trail: Trail = field(default_factory=Trail)
    """What was called, by whom."""
    sinks: Sequence[Sink] = ()
    """Where events go."""
    flights: Flights = field(default_factory=Flights)
