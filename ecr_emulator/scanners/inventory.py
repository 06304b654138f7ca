"""The packages in an image's layers, within bounds: layer upon layer, with their whiteouts.

Layers come from whoever may push. What they can cost is bounded twice: here by a budget of bytes and
seconds, with a message, and for good by the limits of the process that ``main`` runs in.
"""

from __future__ import annotations

import contextlib
import gzip
import importlib
import json
import posixpath
import resource
import sys
import tarfile
import time
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any, cast

from msgspec import Struct, to_builtins
from msgspec.structs import replace

from ecr_emulator.scanners.base import FAILED, IMAGE_SIZE_EXCEEDED, UNSUPPORTED_IMAGE, ScannedBlob
from ecr_emulator.scanners.packages import Distribution, Package, parse_os_release
from ecr_emulator.scanners.readers import OS_RELEASES, is_database, reader_for

# Bytes read at a time; no header of an archive may be longer.
_CHUNK = 1 << 20
# Bytes of a package database, and of any other file that tells of a package.
_MAX_DATABASE = 256 << 20
_MAX_FILE = 4 << 20
_MAX_PACKAGES = 200_000
# Bytes of memory of the process that reads layers.
_MAX_MEMORY = 1 << 30

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
# From Python 3.14 on, and what brings it to earlier ones.
_ZSTD_MODULES = ("compression.zstd", "backports.zstd")


class ScanStoppedError(Exception):
    """The layers can't be read; ``status`` and the message are for the scan's report."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status


class Inventory(Struct, frozen=True):
    """What is installed in an image."""

    packages: list[Package]
    distribution: Distribution | None
    has_database: bool
    """Whether there is a database of the operating system's packages."""


class Budget:
    """What reading an image may cost: decompressed bytes, and seconds from now."""

    def __init__(self, max_bytes: int, max_seconds: float) -> None:
        self._left = max_bytes
        self._deadline = time.monotonic() + max_seconds
        self._max_bytes = max_bytes

    def spend(self, count: int) -> None:
        """Take some bytes off. Raises ScanStoppedError when there is nothing left."""
        self._left -= count
        if self._left < 0:
            raise ScanStoppedError(
                IMAGE_SIZE_EXCEEDED,
                f"ImageSizeExceededError: The image has more than {self._max_bytes >> 20} MiB decompressed.",
            )
        if time.monotonic() > self._deadline:
            raise ScanStoppedError(FAILED, "TimeoutError: The image took too long to scan.")


def take(layers: Iterable[ScannedBlob], budget: Budget) -> Inventory:
    """Return what is installed where the layers lie upon each other. Raises ScanStoppedError."""
    files: dict[str, list[Package] | Distribution] = {}
    for layer in layers:
        try:
            _lay(files, layer, budget)
        except (tarfile.TarError, zlib.error, EOFError, OSError, ValueError, OverflowError) as error:
            raise ScanStoppedError(
                UNSUPPORTED_IMAGE, f"The layer {layer.digest} can't be read: {error}"
            ) from None
    packages = [package for found in files.values() if isinstance(found, list) for package in found]
    systems = (files.get(path) for path in OS_RELEASES)
    return Inventory(
        packages,
        next((system for system in systems if isinstance(system, Distribution)), None),
        any(is_database(path) for path in files),
    )


def _lay(files: dict[str, list[Package] | Distribution], layer: ScannedBlob, budget: Budget) -> None:
    """Change what is known of the files below as a layer changes them."""
    below = {parent for path in files for parent in _with_parents(path)}
    hidden: set[str] = set()
    opaque: set[str] = set()
    added: dict[str, list[Package] | Distribution] = {}
    with layer.path.open("rb") as file, _open_tar(file, budget) as tar:
        while (member := tar.next()) is not None:
            tar.members = []  # type: ignore[attr-defined]  # It would keep one for each file.
            path = _normalize(member.name)
            folder, name = posixpath.split(path)
            if name == _OPAQUE:
                opaque.add(folder)
            elif name.startswith(_WHITEOUT):
                hidden.add(posixpath.join(folder, name.removeprefix(_WHITEOUT)))
            elif not member.isdir():
                if path in below:
                    hidden.add(path)
                added.pop(path, None)
                found = _read(tar, member, path, layer.digest) if member.isfile() else None
                if found is not None:
                    added[path] = _with_origins(found, files.get(path))
    for path in list(files):
        parents = _with_parents(path)
        if not hidden.isdisjoint(parents) or not opaque.isdisjoint(parents[1:]):
            del files[path]
    files.update(added)
    if sum(len(found) for found in files.values() if isinstance(found, list)) > _MAX_PACKAGES:
        raise ScanStoppedError(FAILED, f"The image has more than {_MAX_PACKAGES} packages.")


def _read(
    tar: tarfile.TarFile, member: tarfile.TarInfo, path: str, layer: str
) -> list[Package] | Distribution | None:
    """Return what a file tells, or None where it is none that tells of packages."""
    reader = reader_for(path)
    if reader is None and path not in OS_RELEASES:
        return None
    database = is_database(path)
    if member.size > (_MAX_DATABASE if database else _MAX_FILE):
        if not database:
            return None
        raise ScanStoppedError(FAILED, f"The package database {path} is larger than {_MAX_DATABASE} bytes.")
    with cast(IO[bytes], tar.extractfile(member)) as content:
        data = b"".join(iter(lambda: content.read(_CHUNK), b""))
    if reader is None:
        return parse_os_release(data)
    try:
        packages = reader(data)
    except ValueError as error:
        if database:
            raise ScanStoppedError(FAILED, f"The package database {path} can't be read: {error}") from None
        return []
    return [replace(package, layer=layer, path=None if database else path) for package in packages]


def _with_origins(
    found: list[Package] | Distribution, before: list[Package] | Distribution | None
) -> list[Package] | Distribution:
    """Give packages that an earlier version of a database had the layer that they came with."""
    if not isinstance(found, list) or not isinstance(before, list):
        return found
    origins = {(package.name, package.version, package.arch): package.layer for package in before}
    return [
        replace(package, layer=origins.get((package.name, package.version, package.arch), package.layer))
        for package in found
    ]


def _with_parents(path: str) -> list[str]:
    """Return a path and the folders that it is in; "" is the root."""
    paths = [path]
    while path:
        path = posixpath.dirname(path)
        paths.append(path)
    return paths


def _normalize(name: str) -> str:
    return posixpath.normpath("/" + name).lstrip("/")


class _BoundedReader:
    """A file that is read forwards only, for tarfile, and on the budget."""

    def __init__(self, file: IO[bytes], budget: Budget) -> None:
        self._file = file
        self._budget = budget
        self._position = 0

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _CHUNK:
            raise tarfile.ReadError("a header is too long")
        data = self._file.read(size)
        self._position += len(data)
        self._budget.spend(size)
        return data

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> None:
        if position < self._position:
            raise tarfile.ReadError("the archive is not in order")
        while self._position < position:
            if not self.read(min(position - self._position, _CHUNK)):
                raise tarfile.ReadError("the archive is cut off")


def _open_tar(file: IO[bytes], budget: Budget) -> tarfile.TarFile:
    reader = _BoundedReader(_decompressed(file), budget)
    return tarfile.open(fileobj=cast(IO[bytes], reader), mode="r:", encoding="utf-8")


def _decompressed(file: IO[bytes]) -> IO[bytes]:
    """Return a layer's archive; its bytes tell the compression, whatever its media type says."""
    magic = file.read(4)
    file.seek(0)
    if magic[:2] == b"\x1f\x8b":
        return cast(IO[bytes], gzip.GzipFile(fileobj=file))
    if magic == b"\x28\xb5\x2f\xfd":
        return _zstd(file)
    return file


def _zstd(file: IO[bytes]) -> IO[bytes]:
    for name in _ZSTD_MODULES:
        with contextlib.suppress(ImportError):
            return cast(IO[bytes], importlib.import_module(name).ZstdFile(file))
    raise ScanStoppedError(
        FAILED,
        "A layer is compressed with zstd, which this Python can't read; version 3.14 can, or earlier "
        "ones with backports.zstd.",
    )


def main(read: Callable[[], str] = sys.stdin.read, write: Callable[[str], Any] = sys.stdout.write) -> None:
    """Take the inventory that is asked for on standard input, in this process with its limits."""
    order = json.loads(read())
    _limit_process(order["max_seconds"])
    layers = [ScannedBlob(layer["digest"], Path(layer["path"])) for layer in order["layers"]]
    try:
        answer = to_builtins(take(layers, Budget(order["max_bytes"], order["max_seconds"])))
    except ScanStoppedError as error:
        answer = {"status": error.status, "description": str(error)}
    except MemoryError:
        answer = {"status": FAILED, "description": "The image takes too much memory to scan."}
    write(json.dumps(answer))


def inventory_of(answer: dict[str, Any]) -> Inventory:
    """Return the inventory that ``main`` wrote. Raises ScanStoppedError where it wrote why there is none."""
    if "status" in answer:
        raise ScanStoppedError(answer["status"], answer["description"])
    system = answer["distribution"]
    return Inventory(
        [Package(**package) for package in answer["packages"]],
        None if system is None else Distribution(**system),
        answer["has_database"],
    )


def _limit_process(seconds: float) -> None:
    for limit, most in (
        (resource.RLIMIT_AS, _MAX_MEMORY),
        (resource.RLIMIT_CPU, int(seconds) + 1),
        (resource.RLIMIT_CORE, 0),
    ):
        # Not every system lets them be set.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(limit, (most, most))


if __name__ == "__main__":
    main()
