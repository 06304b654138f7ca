"""AUTH=strict: who calls the API is who signed, and only whom the server knows gets anywhere."""

import asyncio
import base64
import http.client
import json
import os
import subprocess
import sys
from pathlib import Path

import boto3
import pytest
from aiobotocore.session import get_session
from botocore.config import Config

from ecr_emulator.settings import MEMORY, Settings
from ecr_emulator.testing import BackgroundServer

from .conftest import put_image, refused
from .oci_client import OciClient

ACCOUNT, OTHER = "111122223333", "444455556666"
CREDENTIALS = f"""
[AKIAALICE]
arn = "arn:aws:iam::{ACCOUNT}:user/alice"
secret = "alices"

[ASIACI]
arn = "arn:aws:sts::{OTHER}:assumed-role/ci/run-7"
secret = "cis"
session_token = "session"
policies = []

[AKIAROOT]
arn = "arn:aws:iam::{OTHER}:root"
secret = "roots"
"""
TARGET = "AmazonEC2ContainerRegistry_V20150921.DescribeRepositories"


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    file = tmp_path_factory.mktemp("credentials") / "credentials.toml"
    file.write_text(CREDENTIALS)
    with BackgroundServer(
        Settings(data_dir=MEMORY, port=0, auth="strict", credentials=str(file))
    ) as background:
        yield background


@pytest.fixture
def strict(running):
    """An empty server that verifies signatures."""
    running.reset()
    return running


def client(server, key="AKIAALICE", secret="alices", token=None, region="us-east-1"):
    return boto3.client(
        "ecr",
        endpoint_url=server.url,
        region_name=region,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        aws_session_token=token,
        config=Config(retries={"total_max_attempts": 1}, proxies={}),
    )


def raw(server, headers, body=b"{}"):
    """Send a call of the API as it is, and return status, error code and message."""
    connection = http.client.HTTPConnection(server.address)
    try:
        connection.request("POST", "/", body, {"X-Amz-Target": TARGET, **headers})
        response = connection.getresponse()
        answer = json.loads(response.read())
    finally:
        connection.close()
    assert response.headers["x-amzn-ErrorType"] == answer["__type"]
    return response.status, answer["__type"], answer["message"]


def test_boto3_calls_in_the_name_of_its_access_key(strict):
    for caller, account in (
        (client(strict), ACCOUNT),
        (client(strict, "AKIAROOT", "roots"), OTHER),
        (client(strict, region="eu-west-1"), ACCOUNT),
    ):
        created = caller.create_repository(repositoryName="app")["repository"]
        assert created["registryId"] == account
        region = caller.meta.region_name
        assert created["repositoryArn"] == f"arn:aws:ecr:{region}:{account}:repository/app"
        assert put_image(caller, "app", "v1", seed=account)


def test_aiobotocore_calls_too(strict):
    async def create():
        creator = get_session().create_client(
            "ecr",
            endpoint_url=strict.url,
            region_name="us-east-1",
            aws_access_key_id="AKIAALICE",
            aws_secret_access_key="alices",
        )
        async with creator as caller:
            return await caller.create_repository(repositoryName="app")

    assert asyncio.run(create())["repository"]["registryId"] == ACCOUNT
    assert client(strict).describe_repositories()["repositories"][0]["repositoryName"] == "app"


def test_the_aws_cli_calls_too(strict):
    environment = {
        "PATH": os.environ["PATH"],
        "AWS_ACCESS_KEY_ID": "AKIAALICE",
        "AWS_SECRET_ACCESS_KEY": "alices",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_ECR": strict.url,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
    aws = Path(sys.executable).with_name("aws")
    command = [str(aws), "ecr", "create-repository", "--repository-name", "app"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["repository"]["registryId"] == ACCOUNT


def test_whom_nobody_knows_and_who_lacks_the_secret_is_refused(strict):
    invalid = ("UnrecognizedClientException", "The security token included in the request is invalid.")
    for key, secret, token in (
        ("AKIASTRANGER", "alices", None),
        (ACCOUNT, "testing", None),
        ("AKIAALICE", "alices", "session"),
        ("ASIACI", "cis", None),
        ("ASIACI", "cis", "other"),
    ):
        assert refused(client(strict, key, secret, token).describe_repositories) == invalid
    code, message = refused(client(strict, secret="guess").create_repository, repositoryName="app")
    assert code == "InvalidSignatureException"
    assert message.startswith(
        "The request signature we calculated does not match the signature you provided."
    )
    assert client(strict).describe_repositories()["repositories"] == []


def test_a_session_is_known_by_its_token(strict):
    code, message = refused(client(strict, "ASIACI", "cis", "session").describe_repositories)
    assert (code, message) == (
        "AccessDeniedException",
        f"User: arn:aws:sts::{OTHER}:assumed-role/ci/run-7 is not authorized to perform: "
        f"ecr:DescribeRepositories on resource: arn:aws:ecr:us-east-1:{OTHER}:repository/* because no "
        "identity-based policy allows the ecr:DescribeRepositories action",
    )


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "MissingAuthenticationTokenException"),
        ({"Authorization": "Basic QVdTOng="}, "IncompleteSignatureException"),
        ({"Authorization": "AWS4-HMAC-SHA256 Credential=x"}, "IncompleteSignatureException"),
    ],
)
def test_a_request_without_a_whole_signature_is_refused(strict, headers, code):
    assert raw(strict, headers)[:2] == (400, code)


def test_a_request_that_names_two_access_keys_is_nobodys(strict):
    credential = "Credential=AKIAROOT/20300131/us-east-1/ecr/aws4_request"
    told = raw(
        strict, {"Authorization": f"AWS4-HMAC-SHA256 {credential}, {credential}, Signature=0"}, b"not JSON"
    )
    assert told[:2] == (400, "IncompleteSignatureException")


def test_a_signature_expires_on_the_servers_clock(strict):
    caller = client(strict)
    strict.advance_clock(16 * 60)
    code, message = refused(caller.describe_repositories)
    assert code == "InvalidSignatureException"
    assert message.startswith("Signature expired: ")
    assert message.endswith(" - 15 min.)")
    strict.advance_clock(-32 * 60)
    code, message = refused(caller.describe_repositories)
    assert (code, message.partition(":")[0]) == ("InvalidSignatureException", "Signature not yet current")
    strict.manage("clock", {"reset": True})
    assert caller.describe_repositories()["repositories"] == []


def test_the_data_plane_wants_a_token_of_somebody_who_is_known(strict):
    client(strict).create_repository(repositoryName="app")
    assert OciClient(strict.address).get("/v2/").status == 401
    (granted,) = client(strict).get_authorization_token()["authorizationData"]
    oci = OciClient(strict.address, Authorization=f"Basic {granted['authorizationToken']}")
    image = oci.push_image("app", "v1")
    assert (
        client(strict).describe_images(repositoryName="app")["imageDetails"][0]["imageDigest"] == image.digest
    )
    strict.advance_clock(13 * 3600)
    assert oci.get("/v2/app/manifests/v1").error == (403, "DENIED")


def test_a_token_from_before_callers_were_known_ends_with_strict(tmp_path):
    data, file = tmp_path / "data", tmp_path / "credentials.toml"
    file.write_text(CREDENTIALS)
    settings = {"data_dir": str(data), "port": 0, "credentials": str(file)}
    with BackgroundServer(Settings(**settings)) as lax:
        stranger = client(lax, "555566667777", "x")
        (granted,) = stranger.get_authorization_token()["authorizationData"]
    headers = {"Authorization": f"Basic {granted['authorizationToken']}"}
    assert base64.b64decode(granted["authorizationToken"]).startswith(b"AWS:")
    with BackgroundServer(Settings(**settings, auth="strict")) as strict:
        assert OciClient(strict.address, **headers).get("/v2/").error == (401, "UNAUTHORIZED")
