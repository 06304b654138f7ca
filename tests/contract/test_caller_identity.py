"""GetCallerIdentity of AWS STS, as its clients call it."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from ecr_emulator.settings import MEMORY, Settings
from ecr_emulator.testing import BackgroundServer
from tests.contract.oci_client import Answer, OciClient

# Nothing is stored.
pytestmark = pytest.mark.local

CREDENTIALS = """
[AKIAALICE]
arn = "arn:aws:iam::111122223333:user/team/alice"
secret = "alice's"

[ASIASCANNER]
arn = "arn:aws:sts::111122223333:assumed-role/scanner/nightly"
secret = "scanner's"
session_token = "token"

[AKIAROLE]
arn = "arn:aws:iam::111122223333:role/scanner"
secret = "role's"

[ASIAGUEST]
arn = "arn:aws:sts::111122223333:federated-user/guest"
secret = "guest's"

[AKIAROOT]
arn = "arn:aws:iam::111122223333:root"
secret = "root's"
"""
FORM = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
ASKED = {"Action": "GetCallerIdentity", "Version": "2011-06-15"}
NAMESPACE = "{https://sts.amazonaws.com/doc/2011-06-15/}"


def sts(
    server: BackgroundServer,
    key: str,
    secret: str = "secret",
    token: str | None = None,
    region: str = "us-east-1",
) -> Any:
    return boto3.client(
        "sts",
        endpoint_url=server.url,
        region_name=region,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        aws_session_token=token,
        config=Config(retries={"total_max_attempts": 1}),
    )


def identity(client: Any) -> tuple[str, str, str]:
    answer = client.get_caller_identity()
    return answer["Account"], answer["Arn"], answer["UserId"]


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackgroundServer]:
    file: Path = tmp_path_factory.mktemp("strict") / "credentials.toml"
    file.write_text(CREDENTIALS)
    settings = Settings(data_dir=MEMORY, port=0, auth="strict", credentials=str(file))
    with BackgroundServer(settings) as server:
        yield server


def test_a_key_of_twelve_digits_is_an_accounts_root(server: BackgroundServer) -> None:
    root = "arn:aws:iam::123456789012:root"
    assert identity(sts(server, "123456789012")) == ("123456789012", root, "123456789012")
    assert identity(sts(server, "test"))[0] == "000000000000"
    china = identity(sts(server, "123456789012", region="cn-north-1"))
    assert china[1] == "arn:aws-cn:iam::123456789012:root"


def test_a_principal_is_told_who_it_is(strict: BackgroundServer) -> None:
    account, arn, user = identity(sts(strict, "AKIAALICE", "alice's"))
    assert (account, arn) == ("111122223333", "arn:aws:iam::111122223333:user/team/alice")
    assert (user[:4], len(user)) == ("AIDA", 21)
    assert user == identity(sts(strict, "AKIAALICE", "alice's", region="eu-west-1"))[2]
    account, arn, user = identity(sts(strict, "ASIASCANNER", "scanner's", "token"))
    assert arn == "arn:aws:sts::111122223333:assumed-role/scanner/nightly"
    role, _, session = user.partition(":")
    assert (role[:4], len(role), session) == ("AROA", 21, "nightly")
    assert identity(sts(strict, "ASIAGUEST", "guest's"))[2] == "111122223333:guest"
    assert identity(sts(strict, "AKIAROLE", "role's"))[2] == role
    assert identity(sts(strict, "AKIAROOT", "root's"))[2] == "111122223333"


@pytest.mark.parametrize(
    ("key", "secret", "token", "code"),
    [
        ("AKIAALICE", "bob's", None, "SignatureDoesNotMatch"),
        ("AKIABOB", "alice's", None, "InvalidClientTokenId"),
        ("ASIASCANNER", "scanner's", "stale", "InvalidClientTokenId"),
    ],
)
def test_nobody_is_taken_for_another(
    strict: BackgroundServer, key: str, secret: str, token: str | None, code: str
) -> None:
    with pytest.raises(ClientError) as raised:
        identity(sts(strict, key, secret, token))
    assert raised.value.response["Error"]["Code"] == code
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def post(server: BackgroundServer, body: bytes, **headers: str) -> Answer:
    return OciClient(server.address).request("POST", "/", body, {**FORM, **headers})


def code_of(answer: Answer) -> tuple[int, str | None]:
    document = ElementTree.fromstring(answer.body)
    assert document.findtext(f"{NAMESPACE}RequestId") == answer.headers["x-amzn-RequestId"]
    return answer.status, document.findtext(f"{NAMESPACE}Error/{NAMESPACE}Code")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "MissingAction"),
        (urlencode({**ASKED, "Action": "AssumeRole"}).encode(), "InvalidAction"),
        (urlencode({**ASKED, "Version": "2010-05-08"}).encode(), "InvalidAction"),
        (b"Action=GetCallerIdentity", "InvalidAction"),
        (b"Action=%00%1b%3C/Code%3E", "InvalidAction"),
        (b"Action=\xff", "ValidationError"),
        (b"&".join(b"a=b" for _ in range(200)), "ValidationError"),
        (b"a" * (1 << 17), "ValidationError"),
    ],
)
def test_requests_for_anything_else_are_refused(server: BackgroundServer, body: bytes, code: str) -> None:
    assert code_of(post(server, body)) == (400, code)


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        ({}, "MissingAuthenticationToken"),
        ({"Authorization": "Basic YTpi"}, "IncompleteSignature"),
        (
            {
                "Authorization": "AWS4-HMAC-SHA256 Credential=AKIAALICE/20260101/us-east-1/ecr/aws4_request, "
                "SignedHeaders=host, Signature=0",
                "X-Amz-Date": "20260101T000000Z",
            },
            "SignatureDoesNotMatch",
        ),
    ],
)
def test_requests_that_are_not_signed_for_it_are_refused(
    strict: BackgroundServer, authorization: dict[str, str], code: str
) -> None:
    assert code_of(post(strict, urlencode(ASKED).encode(), **authorization)) == (403, code)


def test_a_header_that_is_no_text_is_refused(strict: BackgroundServer) -> None:
    connection = http.client.HTTPConnection(strict.address)
    body = urlencode(ASKED).encode()
    connection.putrequest("POST", "/")
    connection.putheader("Content-Type", FORM["Content-Type"])
    connection.putheader("Content-Length", str(len(body)))
    connection.putheader("X-Amz-Date", "20260101T000000Z")
    connection.putheader(
        "Authorization", b"AWS4-HMAC-SHA256 Credential=\xff<, SignedHeaders=host, Signature=0"
    )
    connection.endheaders(body)
    answer = connection.getresponse()
    assert answer.status == 403
    assert ElementTree.fromstring(answer.read()).findtext(f"{NAMESPACE}Error/{NAMESPACE}Code")
    connection.close()
