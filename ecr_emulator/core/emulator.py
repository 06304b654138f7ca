"""What a running server holds: settings, stores, clock, key, upstreams, and the principals it knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ecr_emulator.blobs.base import BlobStore
from ecr_emulator.core.clock import Clock
from ecr_emulator.core.flights import Flights
from ecr_emulator.core.quotas import Quotas
from ecr_emulator.core.seals import Seals
from ecr_emulator.core.secrets import Secrets
from ecr_emulator.core.upstream import Upstreams
from ecr_emulator.metadata.store import MetadataStore
from ecr_emulator.settings import Settings


@dataclass(slots=True)
class Emulator:
    """One server's parts, given to every operation."""

    settings: Settings
    metadata: MetadataStore
    blobs: BlobStore
    clock: Clock
    seals: Seals
    secrets: Secrets
    upstreams: Upstreams
    principals: Mapping[str, str]
    """ARNs of the principals that access key ids belong to, as far as they are known."""
    quotas: Quotas
    """How much there can be of something in a registry, by name."""
    flights: Flights = field(default_factory=Flights)
