"""A PostgreSQL server of the tests' own, from Debian's package (``scripts/install_scaled.sh``)."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self
from uuid import uuid4

import psycopg
from psycopg import sql

from ecr_emulator.metadata import postgresql
from tests.serving import PATH, free_port, tail

# PostgreSQL does not run as root. Debian's package makes this user.
USER = "postgres"


def binaries() -> Path:
    """Return the folder with the newest PostgreSQL's programs."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    if not versions:
        raise RuntimeError(
            "PostgreSQL is not installed: run scripts/install_scaled.sh (make test-scaled does)"
        )
    return versions[-1]


class Postgres:
    """A server with an empty cluster on a port of 127.0.0.1, for a ``with`` block.

    Its databases sort text as English does, and so unlike SQLite, where a column does not say otherwise.
    Without ``durable`` a crash of the machine loses commits, which tests have no use for.
    """

    def __init__(self, *, durable: bool = False) -> None:
        self._bin = binaries()
        self._durable = durable
        self._folder = Path(tempfile.mkdtemp(prefix="postgresql-of-tests-"))
        self._data = self._folder / "data"
        self._log = self._folder / "log"
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._has_template = False

    def __enter__(self) -> Self:
        if os.getuid() == 0:
            account = pwd.getpwnam(USER)
            os.chown(self._folder, account.pw_uid, account.pw_gid)
        subprocess.run(
            self._command(
                "initdb",
                *("--pgdata", str(self._data), "--username", USER, "--auth", "trust", "--no-sync"),
                *(
                    "--encoding",
                    "UTF8",
                    "--locale-provider",
                    "icu",
                    "--icu-locale",
                    "en",
                    "--locale",
                    "C.UTF-8",
                ),
            ),
            check=True,
            stdout=subprocess.DEVNULL,
            cwd="/",
        )
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.kill()
        shutil.rmtree(self._folder)

    def _command(self, program: str, *arguments: str) -> list[str]:
        command = [str(self._bin / program), *arguments]
        return (
            ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", *command]
            if not os.getuid()
            else command
        )

    def start(self) -> None:
        """Start the server, and wait until it takes connections."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self._port),
            "unix_socket_directories": "",
            "max_connections": "200",
            "fsync": "on" if self._durable else "off",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command("postgres", "-D", str(self._data), *options),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env={"PATH": PATH},
            )
        deadline = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(self.url("postgres")).close()
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"PostgreSQL did not start:\n{tail(self._log)}") from None
                time.sleep(0.05)
            else:
                return

    def kill(self) -> None:
        """End the server as a crash does: all its processes at once, without a word to clients."""
        if self._process is not None and self._process.poll() is None:
            # The server does not change its process id; those for connections are its children.
            children = (
                Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
            )
            for pid in (self._process.pid, *map(int, children)):
                os.kill(pid, signal.SIGKILL)
            self._process.wait()

    def url(self, database: str) -> str:
        """Return what METADATA_URL is for a database."""
        return f"postgresql://{USER}@127.0.0.1:{self._port}/{database}"

    def execute(self, statement: sql.Composed | sql.SQL) -> None:
        """Run a statement outside of the tests' databases."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement)

    def new_database(self, *, empty: bool = False) -> str:
        """Make a database, with the newest schema unless it is to be empty, and return its URL."""
        if not empty and not self._has_template:
            self._has_template = True
            self.execute(sql.SQL("CREATE DATABASE migrated"))
            with psycopg.connect(self.url("migrated"), autocommit=True) as connection:
                postgresql.migrate(connection)
        name = f"test_{uuid4().hex}"
        template = sql.Identifier("template1" if empty else "migrated")
        self.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), template))
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Remove a database, whoever is connected to it."""
        name = sql.Identifier(url.rpartition("/")[2])
        self.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
