"""Fields of the form ``Name: value``, as dpkg's status and Python's metadata have them."""

from __future__ import annotations


def parse(paragraph: str, wanted: frozenset[str]) -> dict[str, str]:
    """Return the fields wanted, the first of each; lines that go on with one are passed over."""
    fields: dict[str, str] = {}
    for line in paragraph.splitlines():
        name, colon, value = line.partition(":")
        if colon and name in wanted:
            fields.setdefault(name, value.strip())
    return fields
