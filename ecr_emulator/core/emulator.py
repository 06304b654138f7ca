"""What a running server holds, and the part of it that commands beside a server have: the stores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct, field

from ecr_emulator.blobs.base import Blob, BlobStore
from ecr_emulator.core.clock import Clock
from ecr_emulator.core.encryption import Encryption
from ecr_emulator.core.faults import Faults
from ecr_emulator.core.flights import Flights
from ecr_emulator.core.identities import Principals
from ecr_emulator.core.memo import Memo
from ecr_emulator.core.quotas import Quotas, UnknownQuotaError, changed
from ecr_emulator.core.rates import Rates
from ecr_emulator.core.seals import Seals
from ecr_emulator.core.secrets import Secrets
from ecr_emulator.core.upstream import Upstreams
from ecr_emulator.events.sinks.base import Sink
from ecr_emulator.events.trail import Trail
from ecr_emulator.metadata.locks import Locks
from ecr_emulator.metadata.store import MetadataStore
from ecr_emulator.scanners.base import Scanner
from ecr_emulator.settings import Settings


class StoresError(Exception):
    """Work on the stores can't be done; the message tells a person why."""


class Stores(Struct):
    """The stores with their settings and a clock: what work on registries needs that is no request's."""

    settings: Settings
    metadata: MetadataStore
    locks: Locks
    blobs: BlobStore
    clock: Clock
    encryption: Encryption

    async def open_blob(self, name: str, key_name: str) -> Blob | None:
        """Return what a blob's plaintext can be read from, or None where it is not there.

        Raises KmsException.
        """
        blob = await self.blobs.open(name)
        return None if blob is None else await self.encryption.decrypted(blob, key_name)

    async def close(self) -> None:
        """Let go of the stores."""
        await self.locks.close()
        await self.metadata.close()
        await self.blobs.close()


def limits_of(stores: Stores) -> Quotas:
    """Return the quotas that the settings give to a registry. Raises StoresError."""
    try:
        return changed(stores.settings.quotas)
    except UnknownQuotaError as error:
        raise StoresError(str(error)) from None


class Emulator(Stores):
    """One server's parts, given to every operation."""

    seals: Seals
    secrets: Secrets
    upstreams: Upstreams
    principals: Principals
    scanner: Scanner
    quotas: Quotas
    """How much there can be of something in a registry, by name."""
    rates: Rates
    """How often operations may be called."""
    memo: Memo
    """Answers that still are right."""
    ca_file: Path | None = None
    """The certificate of the CA that clients have to trust, in PEM, where the server has one of its own."""
    trail: Trail = field(default_factory=Trail)
    """What was called, by whom."""
    sinks: Sequence[Sink] = ()
    """Where events go."""
    faults: Faults = field(default_factory=Faults)
    """Errors that somebody asked for."""
    flights: Flights = field(default_factory=Flights)
