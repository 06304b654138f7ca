"""Advisories in the OSV format (ossf.github.io/osv-schema): whom they concern, and how badly. Pure."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from msgspec import Struct

from ecr_emulator.scanners import cvss, severity
from ecr_emulator.scanners.base import Cvss, Finding
from ecr_emulator.scanners.packages import Ecosystem, Package
from ecr_emulator.scanners.versions import Key, key_of

_CVE = re.compile(r"CVE-\d{4}-\d{4,}")
_NAME_SEPARATORS = re.compile(r"[-_.]+")

Document = dict[str, Any]


class Match(Struct, frozen=True):
    """That a package is concerned, and the version that would not be, if there is one."""

    affected: Document
    fixed_in: str | None


def normalize_name(ecosystem: str, name: str) -> str:
    """Return a package's name in the form that is compared."""
    return _NAME_SEPARATORS.sub("-", name).lower() if ecosystem == "PyPI" else name


def packages_of(advisory: Document) -> Iterator[tuple[str, str]]:
    """Return (ecosystem without its release, name) of the packages that an advisory may concern."""
    for affected in advisory.get("affected", ()):
        package = affected.get("package") or {}
        ecosystem = str(package.get("ecosystem", "")).partition(":")[0]
        yield ecosystem, normalize_name(ecosystem, str(package.get("name", "")))


def match(advisory: Document, ecosystem: Ecosystem, name: str, version: str) -> Match | None:
    """Tell whether an advisory concerns a version of a package. One that was withdrawn concerns nobody."""
    if advisory.get("withdrawn"):
        return None
    key = key_of(ecosystem.name)
    try:
        own = key(version)
    except ValueError:
        return None
    for affected in advisory.get("affected", ()):
        package = affected.get("package") or {}
        if not ecosystem.covers(str(package.get("ecosystem", ""))):
            continue
        if normalize_name(ecosystem.name, str(package.get("name", ""))) != normalize_name(
            ecosystem.name, name
        ):
            continue
        ranges = [
            listed for listed in affected.get("ranges", ()) if listed.get("type") in ("ECOSYSTEM", "SEMVER")
        ]
        if version in affected.get("versions", ()) or any(_is_in(own, key, listed) for listed in ranges):
            return Match(affected, _fix(own, key, ranges))
    return None


def _is_in(own: Any, key: Key, listed: Document) -> bool:
    """Evaluate a range's events in the order of their versions, as the schema's algorithm does."""
    vulnerable = False
    limits = []
    for at, kind in sorted(_events(key, listed), key=lambda event: event[0]):
        if kind == "limit":
            limits.append(at)
        elif kind == "introduced" and (1, own) >= at:
            vulnerable = True
        elif (kind == "fixed" and (1, own) >= at) or (kind == "last_affected" and (1, own) > at):
            vulnerable = False
    return vulnerable and (not limits or any((1, own) < limit for limit in limits))


def _events(key: Key, listed: Document) -> Iterator[tuple[tuple[Any, ...], str]]:
    """Return the events with the keys of their versions; "0" comes before every version there can be."""
    for event in listed.get("events", ()):
        for kind, version in event.items():
            if kind == "introduced" and version == "0":
                yield (0,), kind
            elif not (kind == "limit" and version == "*"):
                with contextlib.suppress(ValueError):
                    yield (1, key(version)), kind


def _fix(own: Any, key: Key, ranges: list[Document]) -> str | None:
    """Return the first fixed version past a package's own."""
    fixes = []
    for listed in ranges:
        for event in listed.get("events", ()):
            if "fixed" in event:
                with contextlib.suppress(ValueError):
                    fixes.append((key(event["fixed"]), event["fixed"]))
    later = [fix for fix in fixes if fix[0] > own]
    return min(later, key=lambda fix: fix[0])[1] if later else None


def finding(advisory: Document, found: Match, package: Package, name: str, version: str) -> Finding:
    """Return what to report of a package that an advisory concerns; ``name`` is the one it is called by."""
    title = cve_of(advisory)
    scores = tuple(_scores(advisory, found.affected))
    words = list(_words(advisory, found.affected))
    references = tuple(str(entry["url"]) for entry in advisory.get("references", ()) if "url" in entry)
    advisories = [
        str(entry["url"]) for entry in advisory.get("references", ()) if entry.get("type") == "ADVISORY"
    ]
    return Finding(
        name=title,
        severity=severity.choose(words, scores),
        package_name=name,
        package_version=version,
        description=advisory.get("details") or advisory.get("summary"),
        uri=next(iter(advisories), None) or f"https://osv.dev/vulnerability/{advisory.get('id', title)}",
        package_manager=package.manager,
        package_arch=package.arch,
        package_path=package.path,
        package_layer=package.layer,
        fixed_in=found.fixed_in,
        cvss=scores,
        references=references,
        related=tuple(other for other in _names(advisory) if other != title),
        source=str(found.affected["package"]["ecosystem"]).partition(":")[0],
        vendor_severity=next(iter(words), None),
        vendor_created_at=_time(advisory.get("published")),
        vendor_updated_at=modified_at(advisory),
    )


def cve_of(advisory: Document) -> str:
    """Return an advisory's CVE number, or its own id where it has none, or is about several."""
    own = str(advisory.get("id", ""))
    if _CVE.fullmatch(own):
        return own
    numbers = sorted({name for name in _names(advisory) if _CVE.fullmatch(name)})
    return numbers[0] if len(numbers) == 1 else own


def modified_at(advisory: Document) -> float | None:
    """Return when an advisory was last changed, in seconds since 1970."""
    return _time(advisory.get("modified"))


def _names(advisory: Document) -> Iterator[str]:
    for member in ("id", "aliases", "upstream"):
        value = advisory.get(member) or ()
        yield from [value] if isinstance(value, str) else map(str, value)


def _words(advisory: Document, affected: Document) -> Iterator[str]:
    """Return the words for its severity that an advisory uses, the most specific first."""
    for specific in (affected.get("ecosystem_specific"), affected.get("database_specific")):
        for member in ("urgency", "severity"):
            if isinstance(word := (specific or {}).get(member), str):
                yield word
    for entry in (*affected.get("severity", ()), *advisory.get("severity", ())):
        if not str(entry.get("type", "")).startswith("CVSS"):
            yield str(entry.get("score", ""))
    if isinstance(word := (advisory.get("database_specific") or {}).get("severity"), str):
        yield word


def _scores(advisory: Document, affected: Document) -> Iterator[Cvss]:
    source = str(advisory.get("id", "")).partition("-")[0]
    for entry in affected.get("severity") or advisory.get("severity", ()):
        vector = str(entry.get("score", ""))
        if str(entry.get("type", "")).startswith("CVSS") and (scored := cvss.base_score(vector)):
            yield Cvss(version=scored[0], vector=vector, score=scored[1], source=source)


def _time(text: Any) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp()
    except (TypeError, ValueError):
        return None
