"""Secrets with upstream credentials: a TOML file stands for AWS Secrets Manager.

A table for each secret, named by its ARN, has what the secret's JSON has: ``username`` and
``accessToken`` (ECR user guide, "Storing your upstream repository credentials in an AWS Secrets
Manager secret"). ``failure = "access"`` or ``"decryption"`` makes it one that ECR can't read.
"""

from __future__ import annotations

import asyncio
import re
import tomllib
from pathlib import Path
from typing import Any

from ecr_emulator.core import errors
from ecr_emulator.core.registry import Registry

_ARN = re.compile(r"arn:[^:]+:secretsmanager:(?P<region>[^:]+):(?P<account>[^:]+):secret:.+")


def _failure(kind: str) -> errors.EcrError:
    if kind == "access":
        return errors.UnableToAccessSecretException(
            "The secret is unable to be accessed. Verify the resource permissions for the secret and try "
            "again."
        )
    return errors.UnableToDecryptSecretValueException(
        "The secret is accessible but is unable to be decrypted. Verify the resource permissions and try "
        "again."
    )


class SecretsFileError(Exception):
    """The file with secrets can't be read."""


class Secrets:
    """Reads the file each time that a secret is wanted, so that it may change."""

    def __init__(self, path: str) -> None:
        self._path = Path(path) if path else None

    async def get(self, arn: str, registry: Registry) -> dict[str, Any]:
        """Return the members of a secret, for a registry of the account and region that it is in.

        Raises SecretNotFoundException, UnableToAccessSecretException (also for a secret of another
        account or region) and UnableToDecryptSecretValueException.
        """
        match = _ARN.fullmatch(arn)
        if match is None or Registry(match["account"], match["region"]) != registry:
            raise _failure("access")
        try:
            secret = (await asyncio.to_thread(self.read)).get(arn)
        except SecretsFileError as error:
            raise errors.UnableToAccessSecretException(str(error)) from error
        if secret is None:
            raise errors.SecretNotFoundException(
                "The ARN of the secret specified in the pull through cache rule was not found. Update the "
                "pull through cache rule with a valid secret ARN and try again."
            )
        if "failure" in secret:
            raise _failure(secret["failure"])
        return secret

    def read(self) -> dict[str, dict[str, Any]]:
        """Return all secrets by ARN. Raises SecretsFileError."""
        if self._path is None:
            return {}
        try:
            document = tomllib.loads(self._path.read_text())
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise SecretsFileError(f"can't read the secrets in {self._path}: {error}") from error
        if wrong := [name for name, secret in document.items() if not isinstance(secret, dict)]:
            raise SecretsFileError(f"{self._path} must have a table for each secret, not {wrong[0]}")
        return document
