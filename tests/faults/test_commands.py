"""Commands on stores with a layer that is larger than the memory they may take."""

import subprocess
import sys
from pathlib import Path

from tests.serving import ROOT

MIB = 1024 * 1024
SIZE = 64 * MIB
LIMIT = 64 * MIB


# What the process had before this program was run in it does not count (ru_maxrss would have it).
PROGRAM = """
import atexit, re, sys
from ecr_emulator.cli import main
atexit.register(lambda: print(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]))
main()
"""


def memory_of(*arguments: object) -> int:
    """Run a command, which must succeed, and return the most memory that it had, in bytes."""
    command = [sys.executable, "-c", PROGRAM, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return int(done.stdout.split()[-1]) * 1024


def test_commands_stream_what_is_larger_than_their_memory(tmp_path: Path) -> None:
    seed = tmp_path / "seed.toml"
    image = f'{{ tags = ["v1"], generate = {{ layers = [{SIZE}] }} }}'
    seed.write_text(f'[[repositories]]\nname = "app"\nimages = [{image}]\n')
    data, tar = ("--data-dir", tmp_path / "data"), tmp_path / "export.tar"
    commands: tuple[tuple[object, ...], ...] = (
        ("seed", seed, *data),
        ("check", *data),
        ("export", tar, *data),
        ("import", tar, "--data-dir", tmp_path / "imported"),
        ("migrate", "--from", tmp_path / "data", "--to", tmp_path / "migrated"),
    )
    for command in commands:
        used = memory_of(*command)
        assert used < LIMIT, f"{command[0]} took {used // MIB} MiB"
    assert tar.stat().st_size > SIZE
