"""Processes that tests start: the emulator, and whatever else serves beside it."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

ROOT = Path(__file__).resolve().parents[1]
# Root's tools are not on everybody's PATH.
PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


REGION = "us-east-1"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
_LISTENING = re.compile(r"listening on (https?://([\w.:]+)),")


def tail(path: Path, lines: int = 60) -> str:
    if not path.exists():
        return ""
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])


@dataclass(frozen=True)
class Server:
    """A running emulator."""

    url: str
    registry: str  # host:port, as it stands in the name of an image
    data_dir: Path
    ca_file: Path | None = None  # whom to trust, where the server speaks TLS


def get(url: str, body: bytes | None = None, ca_file: Path | None = None, timeout: float = 10) -> bytes:
    """What is at a URL of this machine, whatever proxy is set for others; a body makes it a POST."""
    handlers = [urllib.request.ProxyHandler({})]
    if ca_file:
        handlers.append(urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=ca_file)))
    with urllib.request.build_opener(*handlers).open(url, body, timeout=timeout) as answer:
        return answer.read()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def await_ready(what: str, process: subprocess.Popen[bytes], log: Path, ready: Callable[[], bool]) -> None:
    """Wait for a process that was just started; raises with its log when it ends or takes too long."""
    deadline = time.monotonic() + 30
    while not ready():
        if (code := process.poll()) is not None or time.monotonic() > deadline:
            process.kill()
            process.wait()
            raise RuntimeError(f"{what} did not start (exit code {code}):\n{tail(log)}")
        time.sleep(0.1)


def stop(what: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Ask a process to end. One that doesn't, or not with 0, is reported, and never left running."""
    process.terminate()
    try:
        code = process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        code = None
        process.kill()
        process.wait()
    if code != 0:
        raise RuntimeError(f"{what} did not stop gracefully (exit code {code}):\n{tail(log)}")


@contextlib.contextmanager
def serve(
    folder: Path,
    logs: dict[str, Path],
    *flags: str,
    host: str = "127.0.0.1",
    environment: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """Run an emulator that keeps its state in ``folder``, unless ``environment`` says otherwise.

    It speaks TLS where ``--tls`` is among the flags.
    """
    log = folder / "server.log"
    title = " ".join(["the server's log", *flags])
    # The system chooses the port: one that was free a moment ago may be taken on a busy machine.
    command = [sys.executable, "-m", "ecr_emulator", "serve", "--host", host, "--port", "0"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("ECR_EMULATOR_")}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--data-dir", str(folder / "data"), *flags],
            cwd=ROOT,
            env=env | dict(environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    logs[title] = log
    await_ready("the server", process, log, lambda: _LISTENING.search(log.read_text()) is not None)
    try:
        [(url, registry)] = _LISTENING.findall(log.read_text())
        ca_file = folder / "data" / "tls" / "ca.pem" if "--tls" in flags else None
        yield Server(url, registry, folder / "data", ca_file)
    finally:
        stop("the server", process, log)


def api_of(server: Server, account: str | None = None, region: str = REGION) -> Any:
    """A boto3 client, of the default account or another; no proxy, and no retry of what fails."""
    return boto3.client(
        "ecr",
        endpoint_url=server.url,
        region_name=region,
        aws_access_key_id=account or CREDENTIALS["AWS_ACCESS_KEY_ID"],
        verify=str(server.ca_file) if server.ca_file else None,
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        config=Config(proxies={}, retries={"total_max_attempts": 1}),
    )
