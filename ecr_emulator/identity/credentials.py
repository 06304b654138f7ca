"""The credentials file: access keys, the principals that they belong to, and what these may do.

It is TOML with a table for each access key id. Only ``arn`` has to be there::

    [AKIAIOSFODNN7EXAMPLE]
    arn = "arn:aws:iam::111122223333:user/alice"
    secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
    session_token = "..."
    organization = "o-example"
    policies = ["push.json", {Version = "2012-10-17", Statement = [...]}]

``policies`` are the principal's identity policies, documents or paths of files with one, from the folder
of the credentials file. All keys of one principal add to them. A principal without any such list may do
everything, as one with AdministratorAccess; one with an empty list, nothing.
"""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

from ecr_emulator.core import iam
from ecr_emulator.core.iam import Statement
from ecr_emulator.core.identities import AccessKey, Identity, Principals
from ecr_emulator.core.policies import validate_identity_policy

_NAME = r"[\w+=,.@-]+"
_CALLER = re.compile(
    r"arn:aws(?:-[a-z]+)*:(?:"
    rf"iam::\d{{12}}:(?:root|(?:user|role)/(?:{_NAME}/)*{_NAME})"
    rf"|sts::\d{{12}}:(?:assumed-role/{_NAME}/{_NAME}|federated-user/{_NAME}))",
    re.ASCII,
)
_TEXTS = ("arn", "secret", "session_token", "organization")
_ADMINISTRATOR_ACCESS = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Sid": "AdministratorAccess", "Effect": "Allow", "Action": "*", "Resource": "*"}],
    }
)


class CredentialsError(ValueError):
    """The credentials file can't be used; the message tells a person why."""


def is_caller(arn: str) -> bool:
    """Tell whether a text is the ARN of somebody who can call: no group, no wildcard."""
    return _CALLER.fullmatch(arn) is not None


def load(path: str) -> Principals:
    """Return the principals of a file; none where no file is named. Raises CredentialsError."""
    if not path:
        return Principals()
    file = Path(path)
    try:
        document = tomllib.loads(file.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CredentialsError(f"can't read the credentials file {path}: {error}") from error
    try:
        for key, entry in document.items():
            _check(key, entry)
        access_keys = {
            key: AccessKey(entry["arn"], entry.get("secret"), entry.get("session_token"))
            for key, entry in document.items()
        }
        entries: dict[str, list[dict[str, Any]]] = {}
        for entry in document.values():
            entries.setdefault(entry["arn"], []).append(entry)
        identities = {arn: _identity(arn, of_arn, file.parent) for arn, of_arn in entries.items()}
    except CredentialsError as error:
        raise CredentialsError(f"the credentials file {path} {error}") from error
    return Principals(access_keys, identities)


def require_secrets(principals: Principals, path: str) -> None:
    """Check that signatures of all access keys can be verified. Raises CredentialsError."""
    if not principals.access_keys:
        raise CredentialsError("auth = strict needs a credentials file with access keys")
    for key, access_key in principals.access_keys.items():
        if access_key.secret is None:
            raise CredentialsError(f"the credentials file {path} must have the secret of {key}")


def _check(key: str, entry: Any) -> None:
    if not isinstance(entry, dict) or "arn" not in entry or entry.keys() - {*_TEXTS, "policies"}:
        raise CredentialsError(
            f"must have an arn for {key}, and at most secret, session_token, organization and policies "
            "beside it"
        )
    if not isinstance(entry["arn"], str) or not is_caller(entry["arn"]):
        raise CredentialsError(
            f"must have the ARN of a user, a role, a session or an account's root for {key}, not "
            f"{entry['arn']!r}"
        )
    for name in _TEXTS:
        if not isinstance(entry.get(name, "x"), str) or not entry.get(name, "x"):
            raise CredentialsError(f"must have a text as {name} of {key}")
    if not isinstance(entry.get("policies", []), list):
        raise CredentialsError(f"must have a list as policies of {key}")


def _identity(arn: str, entries: list[dict[str, Any]], folder: Path) -> Identity:
    """Return a principal by the entries of its access keys."""
    organizations = {entry["organization"] for entry in entries if "organization" in entry}
    if len(organizations) > 1:
        raise CredentialsError(f"has several organizations of {arn}")
    texts = [_text(policy, folder) for entry in entries for policy in entry.get("policies", ())]
    if not any("policies" in entry for entry in entries):
        texts = [_ADMINISTRATOR_ACCESS]
    statements: list[Statement] = []
    for text in texts:
        statements += iam.parse("identity", text)
    return Identity(arn, tuple(statements), next(iter(organizations), None))


def _text(policy: Any, folder: Path) -> str:
    """Return the text of an identity policy, which the entry has or whose file it names."""
    if isinstance(policy, str):
        try:
            text = (folder / policy).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise CredentialsError(f"has a policy that can't be read: {error}") from error
    else:
        text = json.dumps(policy, default=str)
    try:
        validate_identity_policy(text)
    except ValueError as error:
        raise CredentialsError(f"has something that is not an identity policy: {policy!r}") from error
    return text
