#!/usr/bin/env python3
"""Measure the emulator beside other registries and mocks, in one run.

Every round measures each of them once, in turn, on a server that was just started on a new folder.

Examples:
  python scripts/bench.py --only blob,manifest-get --peers emulator,distribution --rounds 3
  python scripts/bench.py --only put-image --peers emulator,baseline --baseline ../other-work-tree
  python scripts/bench.py --only manifest-put --folder /dev/shm/bench    without the disk
  python scripts/bench.py --report                                       everything, into docs/performance.md
  python scripts/bench.py --report --from build/bench/results.json       the document again, of that run

"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks import peers, report, work
from benchmarks.client import BenchError

RESULTS = peers.BUILD / "bench/results.json"


def main() -> int:
    """Run the workloads."""
    options = _options()
    # As Ctrl-C, so that servers are stopped and folders removed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if options.source:
        document = json.loads(options.source.read_text())
    else:
        document = _run(options)
        options.output.parent.mkdir(parents=True, exist_ok=True)
        lines = ",\n".join(json.dumps(sample) for sample in document["samples"])
        about = json.dumps(document["about"], ensure_ascii=False)
        options.output.write_text(f'{{"about": {about}, "samples": [\n{lines}\n]}}\n')
        print(f"bench: results are in {options.output}", file=sys.stderr)
    results = report.Results(document["samples"])
    _print_tables(results)
    if options.report:
        report.write(results, document["about"])
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = ", ".join(each.name for each in [*work.WORKLOADS, work.GROWTH])
    parser.add_argument("--only", type=_names, default=[], metavar="NAMES", help=f"some of {names}")
    parser.add_argument("--peers", type=_names, default=[], metavar="NAMES", help="servers; default: all")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--seconds", type=int, help="of each measurement of a rate; default: 1")
    parser.add_argument("--quick", action="store_true", help="less of everything, to try the bench itself")
    parser.add_argument("--python", default=_default_python(), help="runs the emulator; default: %(default)s")
    parser.add_argument(
        "--baseline", type=_absolute, metavar="TREE", help="another work tree, as peer baseline"
    )
    parser.add_argument(
        "--folder", type=_absolute, default=peers.BUILD / "bench", help="where servers keep data"
    )
    parser.add_argument("--output", type=Path, default=RESULTS, help="default: %(default)s")
    parser.add_argument("--report", action="store_true", help="write docs/performance.md")
    parser.add_argument("--from", type=Path, dest="source", metavar="FILE", help="results to report")
    options = parser.parse_args()
    unknown = set(options.only) - {each.name for each in [*work.WORKLOADS, work.GROWTH]}
    if unknown:
        parser.error(f"no workload {', '.join(sorted(unknown))}; there are {names}")
    options.chosen = _chosen(parser, options.peers, peers.all_peers(options.python, options.baseline))
    return options


def _absolute(text: str) -> Path:
    return Path(text).absolute()


def _program(text: str) -> str:
    """Return a path that holds in any folder; that of a virtual environment stays a link."""
    return os.path.abspath(text) if "/" in text else text


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _default_python() -> str:
    python = peers.ROOT / ".venv/bin/python"
    return str(python) if python.exists() else sys.executable


def _chosen(parser: argparse.ArgumentParser, names: list[str], every: list[peers.Peer]) -> list[peers.Peer]:
    unknown = set(names) - {peer.name for peer in every}
    if unknown:
        parser.error(f"no peer {', '.join(sorted(unknown))}; there are {', '.join(p.name for p in every)}")
    chosen = [peer for peer in every if not names or peer.name in names]
    for peer in chosen:
        if missing := peer.missing():
            print(f"bench: without {peer.name}: {missing}", file=sys.stderr)
    return [peer for peer in chosen if not peer.missing()]


def _run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure what was asked for, and return the samples and what is to be known of them."""
    scale = work.QUICK if options.quick else work.Scale()
    if options.seconds:
        scale = replace(scale, seconds=options.seconds)
    options.folder.mkdir(parents=True, exist_ok=True)
    for peer in options.chosen:
        peer.prepare()
    started, load = time.monotonic(), os.getloadavg()[0]
    samples: list[dict[str, Any]] = []
    try:
        for sample in itertools.chain(_rounds(options, scale), _grow(options, scale)):
            samples.append(sample)
    except KeyboardInterrupt:
        print("bench: interrupted; no document is written", file=sys.stderr)
        options.report = False
    minutes = (time.monotonic() - started) / 60
    about = {
        "run": f"{datetime.date.today():%Y-%m-%d}, {options.rounds} rounds, {minutes:.0f} minutes, "
        f"load average before it {load:.1f}",
        "machine": f"{os.cpu_count()} cores, {_processor()}, Linux {platform.release()}, "
        f"Python {platform.python_version()}; data on {_file_system(options.folder)}",
    }
    for peer in options.chosen:
        about[peer.name] = f"{peer.version()}; durability: {peer.durability}; access control: {peer.access}"
    return {"about": about, "samples": samples}


def _is_wanted(options: argparse.Namespace, workload: work.Workload) -> bool:
    return not options.only or workload.name in options.only


def _rounds(options: argparse.Namespace, scale: work.Scale) -> Iterator[dict[str, Any]]:
    """Measure each workload on each peer, round by round."""
    for number in range(options.rounds):
        for workload in work.WORKLOADS:
            if not _is_wanted(options, workload) or (workload.once and number):
                continue
            for peer in _in_turn(options, workload, number):
                with _new_folder(options.folder, peer) as folder:
                    peer.fill(Path(folder), workload.stock)
                    yield from _measure(workload, peer, scale, folder, workload.stock, round=number)


def _in_turn(options: argparse.Namespace, workload: work.Workload, round_number: int) -> Iterator[peers.Peer]:
    """Give the peers that can do a workload, each round beginning with another of them."""
    able = [
        peer
        for peer in options.chosen
        if (workload.plane == "any" or workload.plane in peer.planes)
        and (workload.of_variants or not peer.is_variant or peer.name in options.peers)
    ]
    turn = round_number % len(able) if able else 0
    yield from able[turn:] + able[:turn]


def _new_folder(parent: Path, peer: peers.Peer) -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(dir=parent, prefix=f"{peer.name}-")


def _grow(options: argparse.Namespace, scale: work.Scale) -> Iterator[dict[str, Any]]:
    """Measure calls on stores of several sizes, which are filled once and then taken in turn.

    Those that have to be filled by calls, each time, are measured once.
    """
    if not _is_wanted(options, work.GROWTH):
        return
    for peer in options.chosen:
        if peer.is_variant and peer.name not in options.peers:
            continue
        rounds = min(options.rounds, 3) if peer.can_fill else 1
        for layout, stocks in (work.SIZES if peer.can_fill else work.SIZES_BY_CALLS).items():
            with _new_folder(options.folder, peer) as name:
                folders = {stock: Path(name) / str(number) for number, stock in enumerate(stocks)}
                for stock, folder in folders.items():
                    folder.mkdir()
                    peer.fill(folder, stock)
                for number in range(rounds):
                    turn = number % len(stocks)
                    for stock in stocks[turn:] + stocks[:turn]:
                        label = f"{layout}: {stock.images * stock.repositories:,}"
                        folder = folders[stock]
                        yield from _measure(
                            work.GROWTH, peer, scale, folder, stock, round=number, stock=label
                        )


def _measure(
    workload: work.Workload,
    peer: peers.Peer,
    scale: work.Scale,
    folder: str | Path,
    filled: peers.Stock,
    **labels: Any,
) -> list[dict[str, Any]]:
    """Run a workload on a new server; a failure is told and gives no samples."""
    payloads = Path(folder) / "payloads"
    payloads.mkdir(exist_ok=True)
    try:
        with peers.running(peer, Path(folder), filled) as server:
            run = work.Run(server, scale, payloads)
            workload.run(run)
            run.note(f"{workload.name}-memory", "MiB", server.memory("VmHWM"))
    except (BenchError, OSError) as error:
        print(f"bench: {workload.name} on {peer.name} failed: {error}", file=sys.stderr)
        return []
    shown = ", ".join(f"{sample.name} {sample.value:.4g} {sample.unit}" for sample in run.samples)
    where = f" ({labels['stock']})" if "stock" in labels else ""
    print(f"{peer.name}{where}: {shown}", file=sys.stderr, flush=True)
    return [{"peer": peer.name, **labels, **asdict(sample)} for sample in run.samples]


def _print_tables(results: report.Results) -> None:
    """Print the medians, a line for each measurement, and below them what processor time they took.

    That is the better guide on a machine that has other things to do.
    """
    names = list(dict.fromkeys(sample["name"] for sample in results.samples if not sample.get("stock")))
    chosen = results.peers(names)
    width = max((len(peer) for peer in chosen), default=0) + 2
    tables = (("", report.value), ("server's CPU, ms for each", report.cpu_of_one))
    for title, figure in tables if names else ():
        print(f"{title:44}" + "".join(f"{peer:>{width}}" for peer in chosen))
        for name in names:
            medians = [results.median(name, peer, figure) for peer in chosen]
            unit = results.unit(name).split("/")[0] if title else results.unit(name)
            if any(median is not None for median in medians):
                print(f"{name:30}{unit:14}" + "".join(f"{report.number(each):>{width}}" for each in medians))
    print(report.growth(results))


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), "unknown")


def _file_system(folder: Path) -> str:
    command = ["stat", "--file-system", "--format=%T", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
