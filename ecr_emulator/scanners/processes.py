"""Other programs, run beside the server: off the event loop, with a time limit, and never left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from typing import IO

from msgspec import Struct

# Bytes of a program's output that are read, and of what it says of errors.
_MAX_OUTPUT = 256 << 20
_MAX_ERRORS = 2000


class ProgramError(Exception):
    """The program could not be started, took too long, or said too much."""


class Finished(Struct, frozen=True):
    """A program that has ended: its exit code, its standard output, the end of its standard error."""

    code: int
    output: bytes
    errors: str


async def run(
    arguments: Sequence[str],
    *,
    timeout: float,  # noqa: ASYNC109 - an expired one ends the program, not just the wait for it
    given: bytes = b"",
    environment: Mapping[str, str] | None = None,
) -> Finished:
    """Run a program with ``given`` on its standard input, for ``timeout`` seconds at most.

    Raises ProgramError. Whatever ends this, cancellation too, ends the program and its children.
    """
    with contextlib.ExitStack() as files:
        streams = [
            await asyncio.to_thread(files.enter_context, tempfile.TemporaryFile())  # noqa: SIM115
            for _ in range(3)
        ]
        process = await asyncio.to_thread(_start, arguments, given, streams, environment)
        try:
            async with asyncio.timeout(timeout):
                code = await asyncio.to_thread(process.wait)
        except TimeoutError:
            raise ProgramError(f"{arguments[0]} took longer than {timeout:.0f} seconds") from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await asyncio.shield(asyncio.to_thread(process.wait))
        output, errors = await asyncio.to_thread(_read, streams[1], streams[2])
    if len(output) > _MAX_OUTPUT:
        raise ProgramError(f"{arguments[0]} wrote more than {_MAX_OUTPUT} bytes")
    return Finished(code, output, errors)


def _start(
    arguments: Sequence[str],
    given: bytes,
    streams: Sequence[IO[bytes]],
    environment: Mapping[str, str] | None,
) -> subprocess.Popen[bytes]:
    stdin, stdout, stderr = streams
    stdin.write(given)
    stdin.seek(0)
    try:
        # A session of its own, so that its children end with it.
        return subprocess.Popen(  # noqa: S603 - the command is the user's setting, or this program's own
            arguments, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True, env=environment
        )
    except OSError as error:
        raise ProgramError(f"{arguments[0]} can't be run: {error.strerror}") from None


def _read(stdout: IO[bytes], stderr: IO[bytes]) -> tuple[bytes, str]:
    stdout.seek(0)
    stderr.seek(max(0, stderr.seek(0, os.SEEK_END) - _MAX_ERRORS))
    return stdout.read(_MAX_OUTPUT + 1), stderr.read(_MAX_ERRORS).decode(errors="replace").strip()
