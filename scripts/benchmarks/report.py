"""What the samples come to: medians, ratios, plots, and the results' part of docs/performance.md."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from benchmarks.peers import ROOT

DOCUMENT = ROOT / "docs/performance.md"
PLOTS = ROOT / "docs/performance"
BEGIN, END = "<!-- results: make bench writes this part -->", "<!-- end of results -->"

Sample = dict[str, Any]


@dataclass(frozen=True)
class Target:
    """How many times as fast as a peer the emulator is to be."""

    title: str
    name: str
    peer: str
    factor: float


@dataclass(frozen=True)
class Limit:
    """What a measurement of the emulator is to be at most."""

    title: str
    name: str
    unit: str
    most: float


TARGETS = [
    Target("push of a blob of 256 MiB", "blob-push", "distribution", 1.4),
    Target("pull of a blob of 256 MiB", "blob-pull", "distribution", 1.0),
    Target("16 clients push and pull images", "image-mix", "distribution", 1.2),
    Target("manifest GET by tag, 1 connection", "manifest-get-1", "distribution", 2.0),
    Target("manifest GET by tag, 16 connections", "manifest-get-16", "distribution", 2.0),
    Target("manifest GET by tag, 64 connections", "manifest-get-64", "distribution", 2.0),
    Target("manifest PUT, 1 connection", "manifest-put-1", "distribution", 1.0),
    Target("manifest PUT, 16 connections", "manifest-put-16", "distribution", 1.0),
    Target("manifest PUT, 64 connections", "manifest-put-64", "distribution", 1.0),
    Target("DescribeRepositories, 100 repositories", "describe-repositories", "moto", 10.0),
    Target("DescribeRepositories, 100 repositories", "describe-repositories", "ministack", 2.0),
    Target("DescribeRepositories, one by name", "describe-repository", "moto", 10.0),
    Target("DescribeRepositories, one by name", "describe-repository", "ministack", 2.0),
    Target("PutImage, 16 connections", "put-image-16", "moto", 5.0),
]
LIMITS = [
    Limit("start to the first answer", "start", "s", 0.4),
    Limit("memory at rest", "memory-at-rest", "MiB", 50),
    Limit("memory at most, while 16 clients push layers of 1 GiB", "memory-peak", "MiB", 120),
]
# Per-call cost at 100,000 images, as a multiple of that at 100.
GROWTH_LIMIT = 1.3

REGISTRY_TABLE = {
    "blob-push": "push a blob of 256 MiB",
    "blob-pull": "pull it",
    "image-push": "push an image of 20 layers of 5 MiB, 8 connections",
    "image-pull": "pull it",
    "image-mix": "16 clients push and pull such images",
    "large-push": "16 clients push layers of 1 GiB",
    "manifest-get-1": "GET a manifest, 1 connection",
    "manifest-get-16": "16 connections",
    "manifest-get-64": "64 connections",
    "manifest-head-1": "HEAD a manifest, 1 connection",
    "manifest-head-16": "16 connections",
    "manifest-head-64": "64 connections",
    "manifest-put-1": "PUT a new manifest, 1 connection",
    "manifest-put-16": "16 connections",
    "manifest-put-64": "64 connections",
}
API_TABLE = {
    "describe-repositories": "DescribeRepositories: all of 100",
    "describe-repository": "DescribeRepositories: one by name",
    "create-repository": "CreateRepository",
    "put-image-1": "PutImage, 1 connection",
    "put-image-16": "PutImage, 16 connections",
    "describe-images": "DescribeImages: 1,000",
    "list-images": "ListImages: 20,000, page by page",
}
FOOTPRINT_TABLE = {
    "start": "start to the first answer",
    "memory-at-rest": "memory at rest",
    "blob-memory": "at most: a blob of 256 MiB",
    "image-memory": "at most: 16 clients, images of 20 layers",
    "memory-peak": "at most: 16 clients, layers of 1 GiB",
    "manifest-get-memory": "at most: manifest GET and HEAD",
    "manifest-put-memory": "at most: manifest PUT",
    "describe-repositories-memory": "at most: DescribeRepositories",
    "put-image-memory": "at most: PutImage",
    "create-repository-memory": "at most: CreateRepository",
    "describe-images-memory": "at most: DescribeImages of 1,000",
    "list-images-memory": "at most: ListImages of 20,000",
}


class Results:
    """The samples of one run."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        self.samples = list(samples)

    def values(
        self, name: str, peer: str, figure: Callable[[Sample], float | None] | None = None, stock: str = ""
    ) -> list[float]:
        """Return a measurement of a peer in all rounds."""
        found = (
            (figure or value)(sample)
            for sample in self.samples
            if sample["name"] == name and sample["peer"] == peer and sample.get("stock", "") == stock
        )
        return [each for each in found if each is not None]

    def median(
        self, name: str, peer: str, figure: Callable[[Sample], float | None] | None = None, stock: str = ""
    ) -> float | None:
        """Return the median of a measurement, or None where there is none."""
        values = self.values(name, peer, figure, stock)
        return statistics.median(values) if values else None

    def ratios(self, name: str, peer: str, other: str) -> list[float]:
        """Return how many times as much a peer did as another in the same round."""
        rounds: dict[int, dict[str, float]] = {}
        for sample in self.samples:
            if sample["name"] == name and sample["peer"] in {peer, other}:
                rounds.setdefault(sample["round"], {})[sample["peer"]] = sample["value"]
        return [each[peer] / each[other] for each in rounds.values() if len(each) == 2]

    def peers(self, names: Iterable[str]) -> list[str]:
        """Return the peers that have any of some measurements, in the order of the run."""
        wanted = set(names)
        return list(dict.fromkeys(sample["peer"] for sample in self.samples if sample["name"] in wanted))

    def unit(self, name: str) -> str:
        """Return the unit of a measurement."""
        return next((str(sample["unit"]) for sample in self.samples if sample["name"] == name), "")


def value(sample: Sample) -> float | None:
    """Return what was measured."""
    return float(sample["value"])


def cpu_of_one(sample: Sample) -> float | None:
    """Return the milliseconds of processor time that a request, or a MiB, took the server."""
    return _milliseconds_of_one(sample, "server_cpu")


def generator_cpu_of_one(sample: Sample) -> float | None:
    """Return the milliseconds of processor time that it took the load generator."""
    return _milliseconds_of_one(sample, "generator_cpu")


def _milliseconds_of_one(sample: Sample, which: str) -> float | None:
    amount = sample["value"] * sample["seconds"]
    return 1000 * float(sample[which]) / amount if amount else None


def number(figure: float | None) -> str:
    """Return a number with three digits that count."""
    if figure is None:
        return ""
    if figure >= 1000:
        return f"{figure:,.0f}"
    return f"{figure:.0f}" if figure >= 100 else f"{figure:.1f}" if figure >= 10 else f"{figure:.2f}"


def text(results: Results, about: dict[str, str]) -> str:
    """Return the results' part of the document."""
    parts = [
        _about(about),
        "### Targets\n",
        _targets(results),
        "![Pushes and pulls](performance/bytes.svg)\n",
        "### The registry's plane\n",
        "MiB or requests per second; medians.\n",
        _table(results, REGISTRY_TABLE, value),
        "Milliseconds of the server's processor time for each MiB or request, which depends less on what "
        "else the machine does, and in the last column those of the load generator:\n",
        _table(results, REGISTRY_TABLE, cpu_of_one, generator=True),
        "![Manifests](performance/manifests.svg)\n",
        "### The ECR API\n",
        "Calls per second, images per second for ListImages; medians.\n",
        _table(results, API_TABLE, value),
        "Milliseconds of the server's processor time for each:\n",
        _table(results, API_TABLE, cpu_of_one, generator=True),
        "![The ECR API](performance/api.svg)\n",
        "### As the store grows\n",
        growth(results),
        "![Growth](performance/growth.svg)\n",
        "### Start and memory\n",
        "Seconds, and MiB of the server's processes.\n",
        _table(results, FOOTPRINT_TABLE, value),
        "![Memory](performance/memory.svg)\n",
    ]
    return "\n".join(part for part in parts if part)


def _about(about: dict[str, str]) -> str:
    return "".join(f"- {key}: {what}\n" for key, what in about.items())


def _targets(results: Results) -> str:
    lines = ["| | target | median | in the rounds | |", "|---|---|---|---|---|"]
    for target in TARGETS:
        ratios = results.ratios(target.name, "emulator", target.peer)
        if ratios:
            median = statistics.median(ratios)
            lines.append(
                f"| {target.title} | ≥ {target.factor:g} × {target.peer} | {median:.2f} × "
                f"| {min(ratios):.2f}–{max(ratios):.2f} | {_verdict(median >= target.factor)} |"
            )
    for limit in LIMITS:
        values = results.values(limit.name, "emulator")
        if values:
            median = statistics.median(values)
            lines.append(
                f"| {limit.title} | ≤ {limit.most:g} {limit.unit} | {number(median)} {limit.unit} "
                f"| {number(min(values))}–{number(max(values))} | {_verdict(median <= limit.most)} |"
            )
    return "\n".join(lines) + "\n"


def _verdict(is_met: bool) -> str:
    return "met" if is_met else "**missed**"


def _table(
    results: Results,
    rows: dict[str, str],
    figure: Callable[[Sample], float | None],
    *,
    generator: bool = False,
) -> str:
    peers = results.peers(rows)
    heads = ["", *peers, *(["load generator"] if generator else [])]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for name, title in rows.items():
        cells = [number(results.median(name, peer, figure)) for peer in peers]
        if generator:
            cells.append(number(results.median(name, "emulator", generator_cpu_of_one)))
        if any(cells):
            lines.append("| " + " | ".join([title, *cells]) + " |")
    return "\n".join(lines) + "\n"


def _stocks(results: Results) -> list[str]:
    return list(dict.fromkeys(sample["stock"] for sample in results.samples if sample.get("stock")))


def _layout(stock: str) -> str:
    return stock.rsplit(": ", 1)[0]


def _images(stock: str) -> int:
    return int(stock.rsplit(": ", 1)[1].replace(",", ""))


def growth(results: Results) -> str:
    """Return a table for each peer and layout: processor time of a call, by the number of images."""
    parts = []
    grown = [sample for sample in results.samples if sample.get("stock") and sample["seconds"]]
    for peer in dict.fromkeys(sample["peer"] for sample in grown):
        for layout in dict.fromkeys(_layout(s["stock"]) for s in grown if s["peer"] == peer):
            mine = [s for s in grown if s["peer"] == peer and _layout(s["stock"]) == layout]
            stocks = sorted({s["stock"] for s in mine}, key=_images)
            sizes = [_images(stock) for stock in stocks]
            compare = 100 in sizes and sizes[-1] >= 100_000
            heads = [
                f"{peer}, {layout}",
                *(f"{size:,}" for size in sizes),
                *(["ratio", ""] if compare else []),
            ]
            lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
            for name in dict.fromkeys(s["name"] for s in mine):
                costs = [results.median(name, peer, cpu_of_one, stock) for stock in stocks]
                cells = [number(cost) for cost in costs]
                if compare:
                    ratio = (costs[-1] or 0) / (costs[sizes.index(100)] or 1)
                    cells += [f"{ratio:.2f}", _verdict(ratio <= GROWTH_LIMIT)]
                lines.append("| " + " | ".join([name, *cells]) + " |")
            parts.append("\n".join(lines) + "\n")
    if not parts:
        return ""
    intro = (
        "Milliseconds of the server's processor time for a call, with so many images in the store; the ratio "
        f"is that of 100,000 images to 100, the target ≤ {GROWTH_LIMIT}.\n"
    )
    return "\n".join([intro, *parts])


def write(results: Results, about: dict[str, str]) -> None:
    """Draw the plots, and write the results between their marks in the document."""
    _draw(results)
    document = DOCUMENT.read_text()
    head, _, rest = document.partition(BEGIN)
    _, _, tail = rest.partition(END)
    DOCUMENT.write_text(f"{head}{BEGIN}\n\n{text(results, about)}\n{END}{tail}")


def _draw(results: Results) -> None:
    import matplotlib as mpl  # noqa: PLC0415 - measuring needs no plots

    mpl.use("Agg")
    mpl.rcParams.update(
        {"svg.hashsalt": "ecr-emulator", "axes.spines.top": False, "axes.spines.right": False, "font.size": 9}
    )
    PLOTS.mkdir(parents=True, exist_ok=True)
    _bars(results, "bytes", list(REGISTRY_TABLE)[:6], "MiB/s")
    _lines(results)
    _bars(results, "api", list(API_TABLE)[:-1], "calls/s", log=True)
    _growth_lines(results)
    _bars(results, "memory", ["memory-at-rest", "image-memory", "memory-peak", "put-image-memory"], "MiB")


# Colours that stay apart for those who see few; the emulator has the same everywhere.
_COLOURS = {
    "emulator": "#0072b2",
    "emulator-open": "#56b4e9",
    "distribution": "#d55e00",
    "distribution-auth": "#e69f00",
    "docker-registry": "#009e73",
    "docker-registry-auth": "#8fd3bd",
    "moto": "#cc79a7",
    "ministack": "#999999",
    "zot": "#f0e442",
    "baseline": "#000000",
}


def _save(figure: Any, name: str) -> None:
    figure.savefig(PLOTS / f"{name}.svg", bbox_inches="tight", metadata={"Date": None})
    figure.savefig(PLOTS / f"{name}.png", bbox_inches="tight", dpi=120, metadata={"Software": None})


def _bars(results: Results, file: str, names: list[str], unit: str, *, log: bool = False) -> None:
    from matplotlib.figure import Figure  # noqa: PLC0415

    names = [name for name in names if results.peers([name])]
    peers = results.peers(names)
    if not names:
        return
    figure = Figure(figsize=(9, 3.6))
    axes = figure.subplots()
    width = 0.8 / len(peers)
    for position, peer in enumerate(peers):
        for row, name in enumerate(names):
            values = results.values(name, peer)
            if not values:
                continue
            median = statistics.median(values)
            axes.bar(
                row + (position - (len(peers) - 1) / 2) * width,
                median,
                width,
                color=_COLOURS[peer],
                yerr=[[median - min(values)], [max(values) - median]],
                error_kw={"linewidth": 0.7},
                label=peer,
            )
    handles, labels = axes.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    axes.legend(unique.values(), unique.keys(), frameon=False, fontsize=8, ncols=2)
    axes.set_xticks(range(len(names)), names)
    axes.set_ylabel(f"{unit} (median, least and most)")
    if log:
        axes.set_yscale("log")
    _save(figure, file)


def _lines(results: Results) -> None:
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(9, 3.2))
    for axes, method in zip(figure.subplots(1, 3), ("get", "head", "put"), strict=True):
        names = {count: f"manifest-{method}-{count}" for count in (1, 16, 64)}
        for peer in results.peers(names.values()):
            points = [(count, results.median(name, peer)) for count, name in names.items()]
            known = [(count, median) for count, median in points if median is not None]
            axes.plot(*zip(*known, strict=True), marker="o", markersize=3, color=_COLOURS[peer], label=peer)
        axes.set_title(f"manifest {method.upper()}")
        axes.set_xscale("log", base=2)
        axes.set_xticks([1, 16, 64], ["1", "16", "64"])
        axes.set_xlabel("connections")
        axes.set_ylim(bottom=0)
    figure.axes[0].set_ylabel("requests/s")
    figure.axes[2].legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    _save(figure, "manifests")


def _growth_lines(results: Results) -> None:
    from matplotlib.figure import Figure  # noqa: PLC0415

    stocks = _stocks(results)
    layouts = list(dict.fromkeys(map(_layout, stocks)))
    if not layouts:
        return
    figure = Figure(figsize=(9, 3.2))
    for axes, layout in zip(figure.subplots(1, len(layouts), squeeze=False)[0], layouts, strict=True):
        mine = sorted((stock for stock in stocks if _layout(stock) == layout), key=_images)
        for name in dict.fromkeys(s["name"] for s in results.samples if s.get("stock") and s["seconds"]):
            points = [(_images(each), results.median(name, "emulator", cpu_of_one, each)) for each in mine]
            known = [(size, cost) for size, cost in points if cost is not None]
            if known:
                axes.plot(*zip(*known, strict=True), marker="o", markersize=3, label=name)
        axes.set_title(f"emulator, {layout}")
        axes.set_xscale("log")
        axes.set_xlabel("images in the store")
        axes.set_ylim(bottom=0)
    figure.axes[0].set_ylabel("ms of processor time for a call")
    figure.axes[-1].legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    _save(figure, "growth")
