"""The credentials file: which principal an access key id belongs to.

It is TOML with a table for each access key id::

    [AKIAIOSFODNN7EXAMPLE]
    arn = "arn:aws:iam::111122223333:user/alice"
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

_NAME = r"[\w+=,.@-]+"
_CALLER = re.compile(
    r"arn:aws(?:-[a-z]+)*:(?:"
    rf"iam::\d{{12}}:(?:root|(?:user|role)/(?:{_NAME}/)*{_NAME})"
    rf"|sts::\d{{12}}:(?:assumed-role/{_NAME}/{_NAME}|federated-user/{_NAME}))",
    re.ASCII,
)


class CredentialsError(ValueError):
    """The credentials file can't be used; the message tells a person why."""


def load(path: str) -> dict[str, str]:
    """Return the ARNs of the principals in a file, by access key id; none where no file is named.

    Raises CredentialsError.
    """
    if not path:
        return {}
    try:
        document = tomllib.loads(Path(path).read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CredentialsError(f"can't read the credentials file {path}: {error}") from error
    for key, entry in document.items():
        if not isinstance(entry, dict) or entry.keys() != {"arn"}:
            raise CredentialsError(f"the credentials file {path} must have just an arn for {key}")
        if not isinstance(entry["arn"], str) or not _CALLER.fullmatch(entry["arn"]):
            raise CredentialsError(
                f"the credentials file {path} must have the ARN of a user, a role, a session or an "
                f"account's root for {key}, not {entry['arn']!r}"
            )
    return {key: entry["arn"] for key, entry in document.items()}
