"""The server's settings: one table that flags, environment variables and the TOML file share."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

MEMORY = ":memory:"
ENVIRONMENT_PREFIX = "ECR_EMULATOR_"


class SettingsError(ValueError):
    """A setting has a value that the server can't work with."""


def _setting(default: Any, text: str, choices: tuple[str, ...] = ()) -> Any:
    return field(default=default, metadata=_metadata(type(default), text, choices))


def _metadata(kind: type, text: str, choices: tuple[str, ...] = (), values: type = str) -> dict[str, Any]:
    """Return what is known of a setting; ``values`` is the type of the values of a table."""
    return {"type": kind, "help": text, "choices": choices, "values": values}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What ``ecr-emulator serve`` can be told; each field is a flag, a variable and a TOML key.

    Raises SettingsError for a value out of its range.
    """

    host: str = _setting("127.0.0.1", "address to listen on")
    port: int = _setting(4510, "port to listen on; 0 takes a free one")
    data_dir: str = _setting("./data", f"folder that keeps all state; {MEMORY} for a throw-away server")
    metadata_url: str = _setting(
        "",
        "PostgreSQL database that keeps the metadata instead, for several servers: postgresql://…; as a "
        "variable where it has a password",
    )
    blobs_url: str = _setting(
        "",
        "where the bytes of layers are, if not in DATA_DIR: s3://BUCKET/PREFIX?endpoint=URL&region=REGION; "
        "redirect=off if clients can't reach S3 themselves",
    )
    account_id: str = _setting("000000000000", "account of callers whose access key names none")
    region: str = _setting("us-east-1", "region of callers who name none")
    public_endpoint: str = _setting(
        "",
        "host[:port] that repositoryUri and proxyEndpoint name; {account} and {region} are filled in; "
        "by default the address listened on, or with a wildcard address the one the caller used",
    )
    behind_proxy: str = _setting(
        "off",
        "on takes a client's address and scheme from X-Forwarded-For and X-Forwarded-Proto, which a proxy "
        "sets that all clients come through",
        ("off", "on"),
    )
    tls: str = _setting(
        "off", "on speaks HTTPS, with a certificate that a CA in DATA_DIR/tls signs", ("off", "on")
    )
    tls_certificate: str = _setting("", "PEM file with a certificate, and its chain, to show instead")
    tls_key: str = _setting("", "PEM file with the private key of that certificate")
    auth: str = _setting(
        "off",
        "off takes any credentials; token wants a valid authorization token on /v2/; strict verifies the "
        "signature of every call of the API too",
        ("off", "token", "strict"),
    )
    credentials: str = _setting("", "TOML file with access keys, their principals and these' policies")
    layer_check: str = _setting(
        "strict", "off takes manifests whose layers, or images, were never pushed", ("strict", "off")
    )
    oci_deletes: str = _setting("off", "deletes on /v2/, which ECR does not offer", ("off", "on"))
    oci_catalog: str = _setting("off", "/v2/_catalog, which ECR does not offer", ("off", "on"))
    engines: str = _setting(
        "on", "off does what happens later only on POST /_emulator/run/NAME", ("on", "off")
    )
    upstreams: dict[str, str] = field(
        default_factory=dict,
        metadata=_metadata(
            dict,
            "where upstream registries of the pull-through cache are, if not at https://HOST: a table of "
            "hosts and URLs, on the command line HOST=URL,HOST=URL",
        ),
    )
    quotas: dict[str, int] = field(
        default_factory=dict,
        metadata=_metadata(
            dict,
            "service quotas that differ from ECR's: a table of names and numbers, on the command line "
            "NAME=NUMBER,NAME=NUMBER",
            values=int,
        ),
    )
    rates: dict[str, int] = field(
        default_factory=dict,
        metadata=_metadata(
            dict,
            "most requests a second to operations, past which they are throttled: a table of operations and "
            "numbers, on the command line OPERATION=NUMBER,OPERATION=NUMBER",
            values=int,
        ),
    )
    garbage_grace: int = _setting(
        86400,
        "seconds for which uploads and layers that nobody has used are left alone by garbage collection",
    )
    body_timeout: int = _setting(
        60, "seconds in which a request's body has to bring another KiB or its end, or the client is cut off"
    )
    idle_timeout: int = _setting(
        300, "seconds that a connection may take until it has sent the head of a request, the next one too"
    )
    encryption_keys: str = _setting(
        "", "TOML or JSON file with keys, with which repositories' layers are encrypted"
    )
    secrets: str = _setting("", "TOML file with the credentials that stand for Secrets Manager's")
    vulnerability_database: str = _setting(
        "", "folder of advisories in the OSV format, in which image scans look packages up"
    )
    scan_command: str = _setting(
        "",
        "command that scans an image instead, with Trivy's or Grype's JSON on its standard output; "
        "{layout} stands for the folder with the image, an OCI image layout",
    )
    scan_findings: str = _setting("", "JSON file with what scans of certain images are to find")
    scan_timeout: int = _setting(300, "seconds that a scan may take")
    scan_max_size: int = _setting(8192, "MiB of an image, decompressed, up to which it is scanned")
    seed: str = _setting("", "TOML or JSON file with what there is to be when the server starts")
    clock: str = _setting("", "time at which the server's clock starts, as in 2030-01-31T12:00:00Z")
    audit_log: str = _setting("", "file to which a record of every call is appended, in CloudTrail's shape")
    event_sinks: list[str] = field(
        default_factory=list,
        metadata=_metadata(
            list,
            "where events of image actions go: URLs, on the command line URL,URL; file:///PATH, a webhook's "
            "http://…, eventbridge+http://HOST/BUS or sqs+http://HOST/QUEUE",
        ),
    )
    log_format: str = _setting("text", "log lines for people or for machines", ("text", "json"))
    log_level: str = _setting("info", "least severe messages to log", ("debug", "info", "warning", "error"))

    def __post_init__(self) -> None:
        for setting in fields(self):
            value, choices = getattr(self, setting.name), setting.metadata["choices"]
            if type(value) is not setting.metadata["type"]:
                raise SettingsError(
                    f"{setting.name} must be of type {setting.metadata['type'].__name__}, not {value!r}"
                )
            if choices and value not in choices:
                raise SettingsError(f"{setting.name} must be one of {', '.join(choices)}, not {value!r}")
        if not 0 <= self.port <= 65535:
            raise SettingsError(f"port must be between 0 and 65535, not {self.port}")
        for name, least in (
            ("scan_timeout", 1),
            ("scan_max_size", 1),
            ("garbage_grace", 0),
            ("body_timeout", 1),
            ("idle_timeout", 1),
        ):
            if getattr(self, name) < least:
                raise SettingsError(f"{name} must be at least {least}, not {getattr(self, name)}")
        if not re.fullmatch(r"\d{12}", self.account_id):
            raise SettingsError(f"account_id must be 12 digits, not {self.account_id!r}")
        if not re.fullmatch(r"[0-9a-z-]{2,25}", self.region):
            raise SettingsError(
                f"region must be 2 to 25 lower-case letters, digits and hyphens, not {self.region!r}"
            )
        if self.metadata_url and not re.match(r"postgres(ql)?://", self.metadata_url):
            raise SettingsError("metadata_url must begin with postgresql://")
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise SettingsError("tls_certificate and tls_key need each other")
        if self.tls_certificate and self.tls == "off":
            raise SettingsError("tls_certificate needs tls to be on")
        _check_numbers("quotas", self.quotas)
        _check_numbers("rates", self.rates)
        _check_entries(self.upstreams, self.event_sinks)


def _check_numbers(setting: str, table: Mapping[str, Any]) -> None:
    for name, number in table.items():
        if type(number) is not int or number < 1:
            raise SettingsError(
                f"{setting} must have a whole number of at least 1 for {name}, not {number!r}"
            )


def _check_entries(upstreams: Mapping[str, Any], event_sinks: Sequence[Any]) -> None:
    for host, url in upstreams.items():
        if not (isinstance(url, str) and re.fullmatch(r"https?://[^/?#\s]+(/[^?#\s]*)?", url)):
            raise SettingsError(f"upstreams must have an http or https URL for {host}, not {url!r}")
    for sink in event_sinks:
        if not isinstance(sink, str):
            raise SettingsError(f"event_sinks must have texts, not {sink!r}")


def load(flags: Mapping[str, Any], environment: Mapping[str, str], file: Path | None = None) -> Settings:
    """Combine the sources: a flag wins over a variable, a variable over the file, the file over defaults.

    Raises SettingsError for an unknown key, a value of the wrong type or out of range, and a file
    that can't be read.
    """
    known = {setting.name: setting for setting in fields(Settings)}
    values: dict[str, Any] = {}
    if file is not None:
        try:
            values = tomllib.loads(file.read_text())
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise SettingsError(f"can't read {file}: {error}") from error
        if unknown := sorted(values.keys() - known.keys()):
            raise SettingsError(f"{file} has unknown settings: {', '.join(unknown)}")
    texts = {name: environment.get(ENVIRONMENT_PREFIX + name.upper()) for name in known}
    for source in (texts, flags):
        values |= {
            name: _from_text(name, known[name].metadata, value)
            for name, value in source.items()
            if name in known and value is not None
        }
    return Settings(**values)


def _from_text(name: str, metadata: Mapping[str, Any], value: Any) -> Any:
    """Return a setting's value from its text; a value that is none is left as it is."""
    if not isinstance(value, str) or metadata["type"] is str:
        return value
    if metadata["type"] is int:
        return _integer(name, value)
    if metadata["type"] is list:
        return [entry for part in value.split(",") if (entry := part.strip())]
    pairs = _pairs(name, value)
    return pairs if metadata["values"] is str else {key: _integer(name, text) for key, text in pairs.items()}


def _integer(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise SettingsError(f"{name} must be a whole number, not {text!r}") from error


def _pairs(name: str, text: str) -> dict[str, str]:
    entries = [entry.strip().partition("=") for entry in text.split(",") if entry.strip()]
    if not all(key and value for key, _, value in entries):
        raise SettingsError(f"{name} must have the form KEY=VALUE,KEY=VALUE, not {text!r}")
    return {key.strip(): value.strip() for key, _, value in entries}
