"""What a running server holds: settings, stores, locks, clock, key, upstreams, scanner, principals."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ecr_emulator.blobs.base import BlobStore
from ecr_emulator.core.clock import Clock
from ecr_emulator.core.flights import Flights
from ecr_emulator.core.identities import Principals
from ecr_emulator.core.quotas import Quotas
from ecr_emulator.core.seals import Seals
from ecr_emulator.core.secrets import Secrets
from ecr_emulator.core.upstream import Upstreams
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
    ca_file: Path | None = None
    """The certificate of the CA that clients have to trust, in PEM, where the server has one of its own."""
    flights: Flights = field(default_factory=Flights)
