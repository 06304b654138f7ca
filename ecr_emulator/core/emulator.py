"""What a running server holds: its settings, its two stores, its clock, its key and its scanner."""

from __future__ import annotations

from dataclasses import dataclass

from ecr_emulator.blobs.base import BlobStore
from ecr_emulator.core.clock import Clock
from ecr_emulator.core.seals import Seals
from ecr_emulator.metadata.store import MetadataStore
from ecr_emulator.scanners.base import Scanner
from ecr_emulator.settings import Settings


@dataclass(slots=True)
class Emulator:
    """One server's parts, given to every operation."""

    settings: Settings
    metadata: MetadataStore
    blobs: BlobStore
    clock: Clock
    seals: Seals
    scanner: Scanner
