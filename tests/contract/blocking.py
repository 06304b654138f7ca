"""Makes a blocking call on a server's event loop an error, which the request then fails with."""

import contextlib
from collections.abc import Iterator

from blockbuster import BlockBuster, blockbuster_ctx


@contextlib.contextmanager
def unblocked_loop() -> Iterator[BlockBuster]:
    """Detect blocking calls while the block runs."""
    with blockbuster_ctx("ecr_emulator") as detector:
        for name, function in detector.functions.items():
            if name.startswith("sqlite3."):
                # A few rows take less time than to wake a thread.
                function.can_block_in("ecr_emulator/metadata/sqlite.py", {"peek", "version"})
                function.can_block_in("ecr_emulator/metadata/sqlite_writer.py", {"_flush"})
        yield detector
