"""The names for which the server's certificate has to be valid."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import Any

from ecr_emulator.settings import Settings

_LOOPBACK = ("127.0.0.1", "::1", "localhost", "*.localhost")
# "Amazon ECR endpoints and quotas" in the AWS General Reference: of the API and of registries, whose
# account is the label that a wildcard stands for.
_ENDPOINTS = (
    "*.dkr.{ecr}.{region}.{dns_suffix}",
    "api.{ecr}.{region}.{dns_suffix}",
    "{ecr}.{region}.{dns_suffix}",
    "{ecr}.{region}.{dual_stack_suffix}",
    "*.dkr-{ecr}.{region}.{registry_suffix}",
)
# The same reference has endpoints that comply with FIPS only in the regions of the United States.
_FIPS_REGIONS = re.compile(r"us-(gov-)?(east|west)-\d")
_DNS_NAME = re.compile(r"(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*")


def server_names(settings: Settings, machine: str) -> frozenset[str]:
    """Return the host names, some with a wildcard, and IP addresses under which clients may come.

    They are those of this machine, whose host name is ``machine``, of the settings, and all that ECR
    has, so that a client that is led here in place of AWS finds what it expects.
    """
    regions = {region for partition in _partitions() for region in partition["regions"]} | {settings.region}
    names = {*_LOOPBACK, machine, settings.host, *_ecr_endpoints(settings.region)}
    names.update(_public_names(settings.public_endpoint, settings.account_id, regions))
    return frozenset(name for name in map(_normal, names) if name)


def _normal(name: str) -> str:
    """Return a name or an address in the form that certificates have, or "" for one that can't be in any."""
    name = name.lower().rstrip(".").partition("%")[0]
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return name if _DNS_NAME.fullmatch(name) else ""
    return "" if address.is_unspecified else str(address)


def _public_names(endpoint: str, account: str, regions: set[str]) -> Iterator[str]:
    """Give the names of the setting for every region and, where a wildcard can stand for it, account."""
    bracketed = re.match(r"\[([^]]*)\]", endpoint)
    host = bracketed[1] if bracketed else endpoint.partition(":")[0]
    for region in regions if "{region}" in host else [""]:
        first, dot, rest = host.replace("{region}", region).partition(".")
        yield f"{first}{dot}{rest}".replace("{account}", account)
        if "{account}" in first and "{account}" not in rest:
            yield f"*{dot}{rest}"


def _ecr_endpoints(region: str) -> Iterator[str]:
    """Give the names of ECR in every region, and in one that AWS may not have."""
    first, *others = _partitions()
    for partition in ({**first, "regions": {*first["regions"], region}}, *others):
        suffixes = {
            "dns_suffix": partition["dns_suffix"],
            "dual_stack_suffix": partition["dual_stack_suffix"],
            "registry_suffix": "on." + partition["dual_stack_suffix"].removeprefix("api."),
        }
        for name in partition["regions"]:
            for ecr in ("ecr", "ecr-fips") if _FIPS_REGIONS.fullmatch(name) else ("ecr",):
                yield from (form.format(ecr=ecr, region=name, **suffixes) for form in _ENDPOINTS)


@cache
def _partitions() -> list[dict[str, Any]]:
    text = (resources.files("ecr_emulator.specs") / "partitions.json").read_text()
    partitions: list[dict[str, Any]] = json.loads(text)
    return partitions
