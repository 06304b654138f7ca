"""CVSS base scores from their vectors, by the equations of the CVSS 2.0, 3.0 and 3.1 specifications."""

from __future__ import annotations

from math import ceil

_V3 = {
    "AV": {"N": 0.85, "A": 0.62, "L": 0.55, "P": 0.2},
    "AC": {"L": 0.77, "H": 0.44},
    "UI": {"N": 0.85, "R": 0.62},
    "S": {"U": 0.0, "C": 1.0},
    "C": {"H": 0.56, "L": 0.22, "N": 0.0},
    "I": {"H": 0.56, "L": 0.22, "N": 0.0},
    "A": {"H": 0.56, "L": 0.22, "N": 0.0},
}
# Privileges weigh differently where the scope changes.
_V3_PRIVILEGES = {"U": {"N": 0.85, "L": 0.62, "H": 0.27}, "C": {"N": 0.85, "L": 0.68, "H": 0.5}}
_V2 = {
    "AV": {"L": 0.395, "A": 0.646, "N": 1.0},
    "AC": {"H": 0.35, "M": 0.61, "L": 0.71},
    "Au": {"M": 0.45, "S": 0.56, "N": 0.704},
    "C": {"N": 0.0, "P": 0.275, "C": 0.660},
    "I": {"N": 0.0, "P": 0.275, "C": 0.660},
    "A": {"N": 0.0, "P": 0.275, "C": 0.660},
}


def base_score(vector: str, stated: float | None = None) -> tuple[str, float] | None:
    """Return the version and the base score of a vector, or None for one of no version known here.

    CVSS 4.0 is not: its scores come from a table of 270 entries. Its score is what is stated, if any.
    """
    try:
        if vector.startswith(("CVSS:3.0/", "CVSS:3.1/")):
            return vector[5:8], _score_v3(_metrics(vector[9:]))
        if not vector.startswith("CVSS:"):
            return "2.0", _score_v2(_metrics(vector.strip("()")))
    except (KeyError, ValueError):
        pass
    return None if stated is None or not vector.startswith("CVSS:4.") else (vector[5:8], float(stated))


def _metrics(text: str) -> dict[str, str]:
    return dict(metric.split(":", 1) for metric in text.split("/"))


def _score_v3(given: dict[str, str]) -> float:
    value = {metric: weights[given[metric]] for metric, weights in _V3.items()}
    privileges = _V3_PRIVILEGES[given["S"]][given["PR"]]
    base = 1 - (1 - value["C"]) * (1 - value["I"]) * (1 - value["A"])
    changed = given["S"] == "C"
    impact = 7.52 * (base - 0.029) - 3.25 * (base - 0.02) ** 15 if changed else 6.42 * base
    if impact <= 0:
        return 0.0
    exploitability = 8.22 * value["AV"] * value["AC"] * privileges * value["UI"]
    return _round_up(min((1.08 if changed else 1.0) * (impact + exploitability), 10))


def _round_up(score: float) -> float:
    """Round up to one decimal; in whole numbers, as the specification's appendix does."""
    whole = round(score * 100_000)
    return whole / 100_000 if whole % 10_000 == 0 else ceil(whole / 10_000) / 10


def _score_v2(given: dict[str, str]) -> float:
    value = {metric: weights[given[metric]] for metric, weights in _V2.items()}
    impact = 10.41 * (1 - (1 - value["C"]) * (1 - value["I"]) * (1 - value["A"]))
    exploitability = 20 * value["AV"] * value["AC"] * value["Au"]
    return round((0.6 * impact + 0.4 * exploitability - 1.5) * (0 if impact == 0 else 1.176), 1)
