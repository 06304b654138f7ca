"""The metadata store: a transaction is one plain function, given a Transaction and its arguments.

So no network and no blob copy can sit inside a transaction, retries live in one place, and the
rules of core are tested as plain functions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from ecr_emulator.metadata.backfills import Backfills
from ecr_emulator.metadata.blobs import Blobs
from ecr_emulator.metadata.database import Database
from ecr_emulator.metadata.events import Events
from ecr_emulator.metadata.images import Images
from ecr_emulator.metadata.layers import Layers
from ecr_emulator.metadata.lifecycle_previews import LifecyclePreviews
from ecr_emulator.metadata.pull_through import PullThroughRules, UpstreamReferrers, UpstreamTags
from ecr_emulator.metadata.pull_time_exclusions import PullTimeExclusions
from ecr_emulator.metadata.registry_values import RegistryValues
from ecr_emulator.metadata.replication import Replications
from ecr_emulator.metadata.repositories import Repositories
from ecr_emulator.metadata.scans import Scans
from ecr_emulator.metadata.server_values import ServerValues
from ecr_emulator.metadata.signing import SigningStatuses
from ecr_emulator.metadata.tables import Tables
from ecr_emulator.metadata.tags import Tags
from ecr_emulator.metadata.tasks import Tasks
from ecr_emulator.metadata.templates import CreationTemplates
from ecr_emulator.metadata.uploads import Uploads

P = ParamSpec("P")
T = TypeVar("T")


# The tables whose rows belong to an account and a region; others go with a repository of theirs.
REGISTRY_TABLES = (
    "repositories",
    "registry_values",
    "pull_time_exclusions",
    "tasks",
    "backfills",
    "creation_templates",
    "pull_through_rules",
    "events",
)
# Those of them that tell what goes on in a registry, and not what it has.
_TRACES = ("tasks", "backfills", "events")


class Transaction:
    """The queries of every noun, all on one connection."""

    def __init__(self, database: Database) -> None:
        self.repositories = Repositories(database)
        self.images = Images(database)
        self.lifecycle_previews = LifecyclePreviews(database)
        self.tags = Tags(database)
        self.blobs = Blobs(database)
        self.layers = Layers(database)
        self.uploads = Uploads(database)
        self.scans = Scans(database)
        self.registry_values = RegistryValues(database)
        self.pull_time_exclusions = PullTimeExclusions(database)
        self.tasks = Tasks(database)
        self.signing_statuses = SigningStatuses(database)
        self.replications = Replications(database)
        self.backfills = Backfills(database)
        self.creation_templates = CreationTemplates(database)
        self.pull_through_rules = PullThroughRules(database)
        self.upstream_tags = UpstreamTags(database)
        self.upstream_referrers = UpstreamReferrers(database)
        self.events = Events(database)
        self.server_values = ServerValues(database)
        self.tables = Tables(database)
        self._database = database

    def attempt(
        self, function: Callable[Concatenate[Transaction, P], object], *args: P.args, **kwargs: P.kwargs
    ) -> Exception | None:
        """Run a function as a part of the transaction; where it fails, undo that part and return why."""
        self._database.run("SAVEPOINT attempt")
        try:
            function(self, *args, **kwargs)
        except self._database.fatal_errors:
            raise
        except Exception as error:
            failure: Exception | None = error
            self._database.run("ROLLBACK TO SAVEPOINT attempt")
        else:
            failure = None
        self._database.run("RELEASE SAVEPOINT attempt")
        return failure

    def registries(self) -> list[tuple[str, str]]:
        """Return the account and region of every registry that has something, in order."""
        tables = [table for table in REGISTRY_TABLES if table not in _TRACES]
        each = " UNION ".join(f"SELECT account, region FROM {table}" for table in tables)
        rows = self._database.all(f"{each} ORDER BY account, region")
        return [(row["account"], row["region"]) for row in rows]

    def reset(self, account: str | None, region: str | None) -> int:
        """Remove what an account and a region have, None meaning any; return the number of repositories."""
        removed = 0
        for table in REGISTRY_TABLES:
            changed = self._database.run(
                f"DELETE FROM {table} WHERE (account = :account OR :account IS NULL)"
                " AND (region = :region OR :region IS NULL)",
                account=account,
                region=region,
            )
            removed += changed if table == "repositories" else 0
        return removed


class MetadataUnavailableError(Exception):
    """The database can't be reached, or was lost while it committed, so that nobody knows whether it did."""


class MetadataStore(Protocol):
    """Runs functions in transactions, off the event loop.

    Transactions are serializable: what they do is what they would have done one after the other. A store
    may run a function several times until that holds, so functions change nothing but metadata. The work
    of one that failed is undone. Raises MetadataUnavailableError.
    """

    async def read(
        self, function: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a function that only reads, on one consistent snapshot."""
        ...

    async def peek(
        self, function: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a function that only reads, and few rows by their keys: where that is quick, at once.

        Same as ``read`` otherwise. A store whose database is in the process has no thread to wait for.
        """
        ...

    async def write(
        self, function: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a function that may write. Once this returns, what it wrote survives a crash.

        An exception of the function undoes all that it wrote, and is raised here.
        """
        ...

    async def write_briefly(
        self, function: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a function that writes few rows by their keys, as ``write`` does: where that is quick, at once.

        A store whose database is in the process has no thread to hand it to; all else waits meanwhile.
        """
        ...

    async def write_lazily(
        self, function: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a function as ``write`` does, which does not wait for the disk.

        Once this returns, what it wrote survives a crash of the server. One of the machine may lose it, with
        all that was written after it up to there; what ``write`` wrote later takes it along.
        """
        ...

    def version(self) -> int | None:
        """Return a number that is another one after each commit, of any process; at once, or else None."""
        ...

    async def damage(self) -> list[str]:
        """Return what the database finds wrong with its own files, where it looks at them."""
        ...

    async def close(self) -> None:
        """Finish what was begun and let go of the database."""
        ...
