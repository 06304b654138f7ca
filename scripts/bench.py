#!/usr/bin/env python3
"""Measure the emulator beside other registries and mocks, in one run, and report ratios.

Examples:
  python scripts/bench.py                                       everything, into docs/performance.md
  python scripts/bench.py --only blob,manifest-get --peers emulator,distribution --rounds 3
  python scripts/bench.py --only put-image --peers emulator,baseline --baseline ../other-work-tree

"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks import peers, work
from benchmarks.client import BenchError

RESULTS = peers.BUILD / "bench/results.json"


def main() -> int:
    """Run the workloads."""
    options = _options()
    chosen = _chosen(options.peers, peers.all_peers(options.python, options.baseline))
    workloads = [each for each in work.WORKLOADS if not options.only or each.name in options.only]
    scale = work.QUICK if options.quick else work.Scale()
    if options.seconds:
        scale = replace(scale, seconds=options.seconds)
    results: list[dict[str, Any]] = []
    started = time.monotonic()
    for round_number in range(options.rounds):
        for workload in workloads:
            if workload.once and round_number:
                continue
            able = [peer for peer in chosen if workload.plane == "any" or workload.plane in peer.planes]
            # Each round begins with another, so that none always comes after the same one.
            turn = round_number % len(able) if able else 0
            for peer in able[turn:] + able[:turn]:
                for sample in _measure(workload, peer, scale, options.folder):
                    results.append({"peer": peer.name, "round": round_number, **asdict(sample)})
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(results, indent=1))
    _print_table(results, [peer.name for peer in chosen])
    print(f"{time.monotonic() - started:.0f} s, results in {options.output}", file=sys.stderr)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = ",".join(each.name for each in work.WORKLOADS)
    parser.add_argument("--only", type=_names, default=[], metavar="NAMES", help=f"workloads of {names}")
    parser.add_argument("--peers", type=_names, default=[], metavar="NAMES", help="servers; default: all")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--seconds", type=int, help="of each measurement of a rate; default: 3")
    parser.add_argument("--quick", action="store_true", help="less of everything, to try the bench itself")
    parser.add_argument("--python", default=_default_python(), help="runs the emulator; default: %(default)s")
    parser.add_argument("--baseline", type=Path, metavar="TREE", help="another work tree, as peer baseline")
    parser.add_argument("--folder", type=Path, default=peers.BUILD / "bench", help="where servers keep data")
    parser.add_argument("--output", type=Path, default=RESULTS, help="default: %(default)s")
    return parser.parse_args()


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _default_python() -> str:
    python = peers.ROOT / ".venv/bin/python"
    return str(python) if python.exists() else sys.executable


def _chosen(names: list[str], every: list[peers.Peer]) -> list[peers.Peer]:
    unknown = set(names) - {peer.name for peer in every}
    if unknown:
        sys.exit(f"bench: no peer {', '.join(sorted(unknown))}; there are {', '.join(p.name for p in every)}")
    chosen = [peer for peer in every if not names or peer.name in names]
    for peer in chosen:
        if missing := peer.missing():
            print(f"bench: without {peer.name}: {missing}", file=sys.stderr)
    return [peer for peer in chosen if not peer.missing()]


def _measure(workload: work.Workload, peer: peers.Peer, scale: work.Scale, parent: Path) -> list[work.Sample]:
    """Run a workload on a new server; a failure is told and gives no samples."""
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent, prefix=f"{peer.name}-") as name:
        folder = Path(name)
        (folder / "server").mkdir()
        (folder / "payloads").mkdir()
        try:
            with peers.running(peer, folder / "server") as server:
                run = work.Run(server, scale, folder / "payloads")
                workload.run(run)
                run.note(f"{workload.name}-memory", "MiB", server.memory("VmHWM"))
        except (BenchError, OSError) as error:
            print(f"bench: {workload.name} on {peer.name} failed: {error}", file=sys.stderr)
            return []
    shown = ", ".join(f"{sample.name} {sample.value:.4g} {sample.unit}" for sample in run.samples)
    print(f"{peer.name}: {shown}", file=sys.stderr, flush=True)
    return run.samples


def _print_table(results: list[dict[str, Any]], names: list[str]) -> None:
    """Print the medians, a line for each measurement, and below them what processor time they took.

    That is the better guide on a machine that has other things to do.
    """
    width = max(len(name) for name in names) + 2
    for title, figure in (("", _value), ("server's CPU, ms for each", _cpu_of_one)):
        print(f"{title:40}" + "".join(f"{name:>{width}}" for name in names))
        for name, unit in dict.fromkeys((result["name"], result["unit"]) for result in results):
            line = f"{name:26}{unit if not title else unit.split('/')[0]:14}"
            for peer in names:
                found = [figure(each) for each in results if each["peer"] == peer and each["name"] == name]
                values = [value for value in found if value is not None]
                line += f"{statistics.median(values):{width}.4g}" if values else " " * width
            if line.split()[2:]:
                print(line)


def _value(result: dict[str, Any]) -> float | None:
    return float(result["value"])


def _cpu_of_one(result: dict[str, Any]) -> float | None:
    """Return the milliseconds of processor time that a request, or a MiB, took the server."""
    amount = result["value"] * result["seconds"]
    return 1000 * float(result["server_cpu"]) / amount if result["seconds"] else None


if __name__ == "__main__":
    sys.exit(main())
