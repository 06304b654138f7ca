"""Commands on stores with a layer that is larger than the memory they may take."""

import os
import subprocess
import sys
from pathlib import Path

from tests.serving import ROOT

MIB = 1024 * 1024
SIZE = 64 * MIB
LIMIT = 64 * MIB


def memory_of(*arguments: object) -> int:
    """Run a command, which must succeed, and return the most memory that it had, in bytes."""
    command = [sys.executable, "-m", "ecr_emulator", *map(str, arguments)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss * 1024


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
