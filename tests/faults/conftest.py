"""A server in a process of its own, which can be stopped, killed and started again."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import psutil
import pytest

from tests.contract.oci_client import OciClient, api_client

COMMAND = [sys.executable, "-m", "ecr_emulator"]
START_TIMEOUT = 20.0
STOP_TIMEOUT = 20.0
_LISTENING = re.compile(r"listening on http://([^\s\",]+)")


class ServerProcess:
    """``ecr-emulator serve`` with some arguments, from ``start`` to ``stop`` or ``kill``.

    ``program`` is Python that is run in place of the command, to change what no setting does.
    """

    def __init__(
        self, *arguments: str, environment: dict[str, str] | None = None, program: str | None = None
    ) -> None:
        self.arguments = arguments
        self.command = COMMAND if program is None else [sys.executable, "-c", program]
        self.environment = {**os.environ, **(environment or {})}
        self.lines: list[str] = []
        self.address = ""
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    def start(self) -> Self:
        """Start the process and wait until it listens."""
        self.lines = []
        self._process = subprocess.Popen(
            [*self.command, "serve", "--port", "0", *self.arguments],
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
        )
        listening = threading.Event()
        self._reader = threading.Thread(target=self._read, args=(self._process, listening))
        self._reader.start()
        if not listening.wait(START_TIMEOUT) or not self.address:
            self.kill()
            pytest.fail(f"the server does not listen:\n{self.log}")
        return self

    def _read(self, process: "subprocess.Popen[str]", listening: threading.Event) -> None:
        self.address = ""
        assert process.stderr is not None
        with process.stderr:
            for line in process.stderr:
                self.lines.append(line.rstrip("\n"))
                if not listening.is_set() and (match := _LISTENING.search(line)):
                    self.address = match[1]
                    listening.set()
        listening.set()

    @property
    def log(self) -> str:
        """What the process has written to its standard error stream since it started."""
        return "\n".join(self.lines)

    @property
    def process(self) -> "subprocess.Popen[str]":
        """The process that was started last."""
        assert self._process is not None
        return self._process

    @property
    def url(self) -> str:
        """The server's URL."""
        return f"http://{self.address}"

    @property
    def oci(self) -> OciClient:
        """A client of the data plane."""
        return OciClient(self.address)

    @property
    def api(self) -> Any:
        """A boto3 client of the control plane."""
        return api_client(self.url)

    def api_in(self, region: str) -> Any:
        """A boto3 client of the control plane, for the registry in a region."""
        return api_client(self.url, region=region)

    @property
    def memory(self) -> int:
        """Bytes of resident memory."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    @property
    def peak_memory(self) -> int:
        """The most bytes of resident memory that the process has had."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024

    def manage(self, path: str, body: dict[str, Any]) -> Any:
        """POST to a management path and return the answer."""
        return self.oci.post(f"/_emulator/{path}", json.dumps(body).encode()).json()

    def stop(self) -> int:
        """Tell the server to stop and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """Wait until the process has ended and return its exit code."""
        code = self.process.wait(STOP_TIMEOUT)
        assert self._reader is not None
        self._reader.join()
        return code

    def kill(self) -> None:
        """End the process as a crash does."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self.wait()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_exception: object) -> None:
        if self.process.poll() is None:
            try:
                self.stop()
            finally:
                self.kill()


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A folder for a server's state."""
    return tmp_path / "data"


@pytest.fixture
def server(data_dir: Path) -> Iterator[ServerProcess]:
    """A server with the repository app, in a process of its own."""
    with ServerProcess("--data-dir", str(data_dir)) as process:
        process.api.create_repository(repositoryName="app")
        yield process


def keys(folder: Path) -> tuple[str, str]:
    """Write a file with a key, and return the arguments for a server that encrypts with it."""
    file = folder / "keys.toml"
    file.write_text(f'AES256 = "{"5b" * 32}"\n')
    return "--encryption-keys", str(file)


def upload_files(data_dir: Path) -> list[str]:
    """Return the names of the files of uploads under way."""
    return sorted(path.name for path in (data_dir / "uploads").iterdir())


def begin_request(address: str, method: str, path: str, length: int, sent: bytes) -> socket.socket:
    """Send the head of a request and only the first bytes of its body."""
    host, _, port = address.rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout=30)
    connection.sendall(
        f"{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {length}\r\n\r\n".encode() + sent
    )
    return connection


def eventually(check: Callable[[], bool], timeout: float = 10.0) -> None:
    """Wait until something holds that nobody announces."""
    deadline = time.monotonic() + timeout
    while not check():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)
