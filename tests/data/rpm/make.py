"""Make the databases in this folder: RPM's headers in Berkeley DB's own hash format.

RPM writes that format no more, so the headers come from an SQLite database of its own making, and
Berkeley DB keeps them as RPM did: under their number, and under 0 the last number. Each database has a
page size of its own, which decides what is on a page and what overflows. Some packages are removed,
so that there are free pages, and RPM says what is left.

On Debian 12, with memory that is blank where Berkeley DB writes more of it than it has set:
``apt-get install rpm python3-bsddb3 && MALLOC_PERTURB_=255 /usr/bin/python3 make.py``.
"""

import lzma
import sqlite3
import struct
import subprocess
import tempfile
from pathlib import Path

from bsddb3 import db

HERE = Path(__file__).parent
SPEC = """\
Name: {name}
Version: 1.{number}
Release: {number}.el7
{epoch}
Summary: A package
License: MIT
BuildArch: noarch
%description
{description}
%files
"""
PACKAGES = 48


def build(folder: Path, number: int) -> Path:
    """Build a package; every eighth has a description that fills pages."""
    name = f"package-{number:02}"
    long = "\n".join(f"{name} says for the {line}th time what it is." for line in range(200))
    spec = folder / f"{name}.spec"
    spec.write_text(
        SPEC.format(
            name=name,
            number=number,
            epoch=f"Epoch: {number}" if number % 3 == 1 else "",
            description=long if number % 8 == 0 else "Small.",
        )
    )
    subprocess.run(
        [
            "rpmbuild",
            "--quiet",
            "-bb",
            "--define",
            f"_topdir {folder}",
            "--define",
            "_buildhost localhost",
            spec,
        ],
        check=True,
        env={"PATH": "/usr/bin:/bin", "SOURCE_DATE_EPOCH": "1700000000", "HOME": str(folder)},
    )
    return next((folder / "RPMS").rglob(f"{name}-*.rpm"))


def headers(folder: Path) -> list[bytes]:
    """Return the headers of installed packages as RPM keeps them."""
    packages = [build(folder, number) for number in range(PACKAGES)]
    subprocess.run(
        ["rpm", "--dbpath", folder / "db", "-i", "--justdb", "--nodeps", "--nosignature", *packages],
        check=True,
    )
    with sqlite3.connect(folder / "db" / "rpmdb.sqlite") as connection:
        return [blob for (blob,) in connection.execute("SELECT blob FROM Packages ORDER BY hnum")]


def write(folder: Path, blobs: list[bytes], page_size: int, order: str) -> None:
    """Write a database, remove every fifth package, and keep it compressed."""
    path = folder / "Packages"
    path.unlink(missing_ok=True)
    database = db.DB()
    database.set_pagesize(page_size)
    database.set_lorder({"<": 1234, ">": 4321}[order])
    database.open(str(path), dbtype=db.DB_HASH, flags=db.DB_CREATE)
    database.put(struct.pack(order + "I", 0), struct.pack(order + "I", len(blobs)))
    for number, blob in enumerate(blobs, 1):
        database.put(struct.pack(order + "I", number), blob)
    for number in range(5, len(blobs) + 1, 5):
        database.delete(struct.pack(order + "I", number))
    database.close()
    name = f"Packages-{page_size}{'-big-endian' if order == '>' else ''}"
    (HERE / f"{name}.xz").write_bytes(lzma.compress(path.read_bytes(), preset=9))
    query = ["rpm", "--dbpath", folder, "--define", "_db_backend bdb_ro", "-qa"]
    query += ["--queryformat", r"%|EPOCH?{%{EPOCH}:}|%{NAME}-%{VERSION}-%{RELEASE}.%{ARCH}\n"]
    listed = subprocess.run(query, check=True, capture_output=True, text=True).stdout
    (HERE / "packages.txt").write_text("".join(sorted(listed.splitlines(keepends=True))))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        made = headers(Path(name))
        for size, order in ((512, "<"), (4096, ">"), (4096, "<"), (16384, "<")):
            write(Path(name), made, size, order)
