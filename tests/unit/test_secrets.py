"""Secrets: what a file has in place of AWS Secrets Manager."""

import asyncio

import pytest

from ecr_emulator.core import errors
from ecr_emulator.core.registry import Registry
from ecr_emulator.core.secrets import Secrets, SecretsFileError

REGISTRY = Registry("000000000000", "us-east-1")
ARN = "arn:aws:secretsmanager:us-east-1:000000000000:secret:ecr-pullthroughcache/hub"


def get(secrets, arn=ARN, registry=REGISTRY):
    return asyncio.run(secrets.get(arn, registry))


def test_a_secret_is_read_anew_each_time(tmp_path):
    file = tmp_path / "secrets.toml"
    secrets = Secrets(str(file))
    for token in ("one", "two"):
        file.write_text(f'["{ARN}"]\nusername = "me"\naccessToken = "{token}"\n')
        assert get(secrets) == {"username": "me", "accessToken": token}


def test_without_a_file_there_are_no_secrets():
    with pytest.raises(errors.SecretNotFoundException):
        get(Secrets(""))


@pytest.mark.parametrize(
    ("arn", "registry"),
    [
        (ARN, Registry("000000000000", "eu-west-1")),
        (ARN, Registry("111111111111", "us-east-1")),
        ("arn:aws:iam::000000000000:role/x", REGISTRY),
    ],
)
def test_a_secret_of_another_account_or_region_is_out_of_reach(arn, registry):
    with pytest.raises(errors.UnableToAccessSecretException):
        get(Secrets(""), arn, registry)


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        ("access", errors.UnableToAccessSecretException),
        ("decryption", errors.UnableToDecryptSecretValueException),
    ],
)
def test_a_secret_can_be_one_that_ecr_can_not_read(tmp_path, failure, error):
    file = tmp_path / "secrets.toml"
    file.write_text(f'["{ARN}"]\nfailure = "{failure}"\n')
    with pytest.raises(error):
        get(Secrets(str(file)))


@pytest.mark.parametrize("text", ["[", "a = 1", None])
def test_a_file_that_is_wrong_is_refused(tmp_path, text):
    file = tmp_path / "secrets.toml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(SecretsFileError):
        Secrets(str(file)).read()
    with pytest.raises(errors.UnableToAccessSecretException):
        get(Secrets(str(file)))
