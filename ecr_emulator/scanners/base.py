"""The port to a scanner: an image in, a report out."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from msgspec import Struct

OS = "OS"
"""The package manager of operating system packages, as Amazon Inspector names it."""

SEVERITIES = ("CRITICAL", "HIGH", "MEDIUM", "LOW", "INFORMATIONAL", "UNDEFINED")
"""ECR's severities, the worst first."""

COMPLETE = "COMPLETE"
FAILED = "FAILED"
UNSUPPORTED_IMAGE = "UNSUPPORTED_IMAGE"
IMAGE_SIZE_EXCEEDED = "IMAGE_SIZE_EXCEEDED"


class ScannedBlob(Struct, frozen=True):
    """A blob of an image: a file that must not be changed."""

    digest: str
    path: Path


class ScannedImage(Struct, frozen=True):
    """An image to be scanned."""

    repository: str
    tags: tuple[str, ...]
    digest: str
    media_type: str
    manifest: bytes
    config: ScannedBlob
    layers: tuple[ScannedBlob, ...]
    """From the lowest to the uppermost."""

    languages: bool
    """Whether packages of programming languages count too, as they do in enhanced scanning."""


class Cvss(Struct, frozen=True):
    """A CVSS score; ``version`` as in "3.1"."""

    version: str
    vector: str
    score: float
    source: str


class Finding(Struct, frozen=True):
    """A vulnerability of a package. Times are seconds since 1970."""

    name: str
    """The vulnerability's, a CVE number where there is one."""

    severity: str
    """One of SEVERITIES."""

    package_name: str
    package_version: str
    description: str | None = None
    uri: str | None = None
    package_manager: str = OS
    package_arch: str | None = None
    package_path: str | None = None
    package_layer: str | None = None
    """The digest of the layer that brought the package."""

    fixed_in: str | None = None
    cvss: tuple[Cvss, ...] = ()
    references: tuple[str, ...] = ()
    related: tuple[str, ...] = ()
    source: str | None = None
    """Who says that there is this vulnerability."""

    vendor_severity: str | None = None
    vendor_created_at: float | None = None
    vendor_updated_at: float | None = None


class Report(Struct, frozen=True):
    """What a scan came to."""

    status: str
    """COMPLETE, FAILED, UNSUPPORTED_IMAGE or IMAGE_SIZE_EXCEEDED."""

    description: str = ""
    findings: tuple[Finding, ...] = ()
    platform: str | None = None
    """Operating system and release, as in DEBIAN_12."""

    source_updated_at: float | None = None
    """When the vulnerability data was last changed, in seconds since 1970."""


class ScannerSetupError(Exception):
    """A scanner can't work with its settings; the message tells a person why."""


class Scanner(Protocol):
    """Finds vulnerabilities, off the event loop."""

    async def scan(self, image: ScannedImage) -> Report:
        """Scan an image. What goes wrong with it is a report too, never an exception."""
        ...
