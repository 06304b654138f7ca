"""Clients of the ECR API: boto3, aiobotocore and the AWS CLI see one push the same way."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import urllib.request
from base64 import b64encode
from pathlib import Path

import pytest
from aiobotocore.session import get_session
from botocore import xform_name
from botocore.exceptions import ClientError

from ecr_emulator.settings import MEMORY, Settings
from ecr_emulator.testing import BackgroundServer

from .conftest import OCI_MANIFEST, connect, image_manifest, sha256

AWS = Path(sys.executable).with_name("aws")
BLOB = b"config and layer at once"


class RefusedError(Exception):
    """The server answered with an error; its code is the argument."""


def aws(server, *arguments):
    """Run the AWS CLI and return what it prints."""
    environment = {
        "PATH": os.environ["PATH"],
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_ECR": server.url,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
    command = [str(AWS), "ecr", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RefusedError(done.stderr.partition("(")[2].partition(")")[0])
    return done.stdout


@contextlib.contextmanager
def boto3_client(server, _folder):
    client = connect(server.url)

    def call(operation, **members):
        try:
            return getattr(client, xform_name(operation))(**members)
        except ClientError as error:
            raise RefusedError(error.response["Error"]["Code"]) from error

    yield call


@contextlib.contextmanager
def aiobotocore_client(server, _folder):
    stack = contextlib.AsyncExitStack()
    credentials = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
    creator = get_session().create_client(
        "ecr", endpoint_url=server.url, region_name="us-east-1", **credentials
    )
    with asyncio.Runner() as runner:
        client = runner.run(stack.enter_async_context(creator))

        def call(operation, **members):
            try:
                return runner.run(getattr(client, xform_name(operation))(**members))
            except ClientError as error:
                raise RefusedError(error.response["Error"]["Code"]) from error

        try:
            yield call
        finally:
            runner.run(stack.aclose())


@contextlib.contextmanager
def aws_cli(server, folder):
    def call(operation, layerPartBlob=None, **members):  # noqa: N803 - the API's name
        arguments = [xform_name(operation, "-"), "--cli-input-json", json.dumps(members)]
        if layerPartBlob is not None:
            part = folder / "part"
            part.write_bytes(layerPartBlob)
            arguments += ["--layer-part-blob", f"fileb://{part}"]
        printed = aws(server, *arguments)
        return json.loads(printed) if printed else {}

    yield call


@pytest.mark.parametrize("client", [boto3_client, aiobotocore_client, aws_cli])
def test_an_image_is_pushed_listed_pulled_and_deleted(server, tmp_path, client):
    app = {"repositoryName": "team/app"}
    with client(server, tmp_path) as call:
        created = call("CreateRepository", **app, tags=[{"Key": "team", "Value": "größe"}])["repository"]
        assert created["repositoryArn"] == "arn:aws:ecr:us-east-1:000000000000:repository/team/app"
        assert created["repositoryUri"] == f"{server.address}/team/app"

        upload_id = call("InitiateLayerUpload", **app)["uploadId"]
        last = len(BLOB) - 1
        of_part = {"partFirstByte": 0, "partLastByte": last, "layerPartBlob": BLOB}
        assert call("UploadLayerPart", **app, uploadId=upload_id, **of_part)["lastByteReceived"] == last
        blob = sha256(BLOB)
        completed = call("CompleteLayerUpload", **app, uploadId=upload_id, layerDigests=[blob])
        assert completed["layerDigest"] == blob
        manifest = image_manifest(BLOB, BLOB).decode()
        put = call("PutImage", **app, imageManifest=manifest, imageTag="v1")["image"]
        image_id = {"imageDigest": sha256(manifest.encode()), "imageTag": "v1"}
        assert put["imageId"] == image_id

        assert call("ListImages", **app, filter={"tagStatus": "TAGGED"})["imageIds"] == [image_id]
        (detail,) = call("DescribeImages", **app, imageIds=[{"imageTag": "v1"}])["imageDetails"]
        assert (detail["imageDigest"], detail["imageTags"]) == (image_id["imageDigest"], ["v1"])
        assert detail["imageSizeInBytes"] == len(BLOB)
        got = call("BatchGetImage", **app, imageIds=[{"imageTag": "v1"}], acceptedMediaTypes=[OCI_MANIFEST])
        assert [image["imageManifest"] for image in got["images"]] == [manifest]
        assert got["failures"] == []
        url = call("GetDownloadUrlForLayer", **app, layerDigest=blob)["downloadUrl"]
        with urllib.request.urlopen(url) as response:
            assert response.read() == BLOB

        with pytest.raises(RefusedError, match=r"^RepositoryNotEmptyException$"):
            call("DeleteRepository", **app)
        assert call("BatchDeleteImage", **app, imageIds=[image_id])["imageIds"] == [image_id]
        assert call("DeleteRepository", **app)["repository"]["repositoryName"] == "team/app"


def test_the_aws_cli_gives_the_password_for_docker_login():
    with BackgroundServer(Settings(data_dir=MEMORY, port=0, auth="token")) as guarded:
        password = aws(guarded, "get-login-password").strip()
        login = b64encode(f"AWS:{password}".encode()).decode()
        headers = {"Authorization": f"Basic {login}"}
        request = urllib.request.Request(f"{guarded.url}/v2/", headers=headers)
        with urllib.request.urlopen(request) as response:
            assert response.status == 200


def test_the_aws_cli_reads_all_pages(server, ecr):
    names = [f"repository-{number}" for number in range(5)]
    for name in names:
        ecr.create_repository(repositoryName=name)
    query = ["--query", "repositories[].repositoryName", "--output", "json"]
    assert json.loads(aws(server, "describe-repositories", "--page-size", "2", *query)) == names
