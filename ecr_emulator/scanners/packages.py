"""Packages that are installed in an image, and the operating system that they are of."""

from __future__ import annotations

import re

from msgspec import Struct

from ecr_emulator.scanners.base import OS

PYTHON = "PYTHONPKG"
NODE = "NODEPKG"


class Package(Struct, frozen=True):
    """An installed package; ``manager`` as Amazon Inspector names it."""

    name: str
    version: str
    manager: str = OS
    arch: str | None = None
    source_name: str | None = None
    """The source package that it was built from, where that has another name or version."""

    source_version: str | None = None
    path: str | None = None
    """The file that says that it is there, for packages of programming languages."""

    layer: str | None = None
    """The digest of the layer that brought it."""


class Ecosystem(Struct, frozen=True):
    """An OSV ecosystem: ``Debian`` with the release ``12``, or ``PyPI`` without any."""

    name: str
    release: str = ""

    def covers(self, stated: str) -> bool:
        """Tell whether an advisory's ecosystem, such as ``Ubuntu:22.04:LTS``, is this one.

        One without a release is of all releases.
        """
        name, _, releases = stated.partition(":")
        return name == self.name and (not releases or self.release in releases.split(":"))


class Distribution(Struct, frozen=True):
    """An operating system, as its os-release file tells."""

    id: str
    name: str
    release: str

    @property
    def platform(self) -> str:
        """How Amazon Inspector writes it: DEBIAN_12, ALPINE_LINUX_3_18."""
        words = f"{_PLATFORMS.get(self.id, self.id)}_{self.release}"
        return re.sub(r"[ .-]", "_", words).upper().strip("_")

    @property
    def ecosystem(self) -> Ecosystem | None:
        """Its OSV ecosystem, or None for one that is not supported."""
        name = _ECOSYSTEMS.get(self.id)
        return None if name is None else Ecosystem(name, self._ecosystem_release())

    @property
    def names_sources(self) -> bool:
        """Whether its advisories name source packages instead of installed ones."""
        return self.id in ("debian", "ubuntu", "alpine", "wolfi", "chainguard")

    def _ecosystem_release(self) -> str:
        numbers = self.release.split(".")
        if self.id == "alpine":
            return "v" + ".".join(numbers[:2])
        if self.id in ("ubuntu", "amzn"):
            return self.release
        return f"Leap {self.release}" if self.id == "opensuse-leap" else numbers[0]


# By the ID of os-release: those that basic scanning supports (user guide), and their kin.
_ECOSYSTEMS = {
    "alpine": "Alpine",
    "almalinux": "AlmaLinux",
    "amzn": "Amazon Linux",
    # Its packages are those of RHEL, and OSV has no advisories of its own.
    "centos": "Red Hat",
    "chainguard": "Chainguard",
    "debian": "Debian",
    "fedora": "Fedora",
    "ol": "Oracle Linux",
    "opensuse-leap": "openSUSE",
    "photon": "Photon OS",
    "rhel": "Red Hat",
    "rocky": "Rocky Linux",
    "sles": "SUSE",
    "ubuntu": "Ubuntu",
    "wolfi": "Wolfi",
}
_PLATFORMS = {"amzn": "amazon_linux", "alpine": "alpine_linux", "ol": "oracle_linux", "rocky": "rocky_linux"}

_ASSIGNMENT = re.compile(r"^(ID|NAME|VERSION_ID)=(['\"]?)(.*)\2$", re.MULTILINE)


def supported_platform(system_id: str, release: str) -> str | None:
    """Return how Amazon Inspector writes a system that another scanner found, None for one not supported.

    The name is that of os-release; the release may be a point release that is not in there.
    """
    if system_id in ("amzn", "debian"):
        release = release.partition(".")[0]
    system = Distribution(system_id, system_id, release)
    return system.platform if system.ecosystem else None


def parse_os_release(content: bytes) -> Distribution | None:
    """Return what an os-release file tells, or None where it names no system."""
    values = {name: value for name, _, value in _ASSIGNMENT.findall(content.decode(errors="replace"))}
    if not values.get("ID"):
        return None
    return Distribution(values["ID"], values.get("NAME", values["ID"]), values.get("VERSION_ID", ""))
