"""Errors that somebody asked for: any that an operation can have, on both planes, and nothing else."""

import json
from typing import Any

import pytest

from ecr_emulator.control import model
from ecr_emulator.testing import BackgroundServer
from tests.contract.conftest import OCI_MANIFEST, connect, put_image, refused
from tests.contract.oci_client import Answer, OciClient
from tests.contract.test_bad_input import Api

PAIRS = [(name, error) for name, operation in model.operations().items() for error in operation.errors]


@pytest.fixture
def oci(server: BackgroundServer) -> OciClient:
    return OciClient(server.address)


def post(client: OciClient, body: Any) -> Answer:
    return client.post("/_emulator/faults", json.dumps(body).encode())


@pytest.mark.local
@pytest.mark.parametrize(("operation", "error"), PAIRS)
def test_any_declared_error_can_be_provoked(server: BackgroundServer, operation: str, error: str) -> None:
    api = Api(server.address)
    server.fail_next(operation, error, message="as asked")
    answer = api.call(operation, {})
    assert answer.body == {"__type": error, "message": "as asked"}
    assert answer.status == (500 if error == "ServerException" else 400)
    assert answer.headers["x-amzn-ErrorType"] == error
    # Once, that is.
    assert api.call(operation, {}).body.get("message") != "as asked"
    api.close()


def test_a_fault_strikes_as_often_as_it_was_asked_to_and_changes_nothing(
    server: BackgroundServer, ecr: Any
) -> None:
    server.fail_next("CreateRepository", "LimitExceededException", times=2)
    expected = ("LimitExceededException", "CreateRepository was to fail")
    for _ in range(2):
        assert refused(ecr.create_repository, repositoryName="app") == expected
    assert ecr.describe_repositories()["repositories"] == []
    ecr.create_repository(repositoryName="app")


def test_faults_come_in_their_order_and_go_on_until_they_are_removed(
    server: BackgroundServer, ecr: Any, oci: OciClient
) -> None:
    server.fail_next("DescribeRegistry", "InvalidParameterException", message="first")
    server.fail_next("DescribeRegistry", "ValidationException", times=None, message="then")
    listed = oci.get("/_emulator/faults").json()["faults"]
    assert [(each["error"], each["times"]) for each in listed] == [
        ("InvalidParameterException", 1),
        ("ValidationException", None),
    ]
    assert refused(ecr.describe_registry) == ("InvalidParameterException", "first")
    for _ in range(3):
        assert refused(ecr.describe_registry) == ("ValidationException", "then")
    assert oci.delete("/_emulator/faults").json() == {"faults": []}
    assert ecr.describe_registry()["registryId"] == "000000000000"
    server.fail_next("DescribeRegistry", "ValidationException")
    server.reset()
    ecr.describe_registry()


def test_a_fault_may_be_meant_for_one_registry(server: BackgroundServer, ecr: Any) -> None:
    asked = {"operation": "DescribeRegistry", "error": "ValidationException"}
    server.manage("faults", asked | {"region": "eu-west-1"})
    server.manage("faults", asked | {"account": "111122223333"})
    ecr.describe_registry()
    assert refused(connect(server.url, region="eu-west-1").describe_registry)[0] == "ValidationException"
    assert refused(connect(server.url, "111122223333").describe_registry)[0] == "ValidationException"


def test_the_registry_plane_is_struck_too(
    server: BackgroundServer, ecr: Any, oci: OciClient, repository: str
) -> None:
    put_image(ecr, repository, tag="v1")
    path = f"/v2/{repository}/manifests/v1"
    # The second is answered from memory.
    assert [oci.get(path, {"Accept": OCI_MANIFEST}).status for _ in range(2)] == [200, 200]
    for error, status, code in (
        ("ThrottlingException", 429, "TOOMANYREQUESTS"),
        ("LimitExceededException", 403, "DENIED"),
        ("ServerException", 500, "UNKNOWN"),
    ):
        server.fail_next("BatchGetImage", error, message="as asked")
        answer = oci.get(path, {"Accept": OCI_MANIFEST})
        assert (answer.error, answer.message) == ((status, code), "as asked")
        assert oci.get(path, {"Accept": OCI_MANIFEST}).status == 200
    server.fail_next("InitiateLayerUpload", "ServerException")
    assert oci.post(f"/v2/{repository}/blobs/uploads/", b"").status == 500


def test_what_is_struck_is_recorded(server: BackgroundServer, ecr: Any, oci: OciClient) -> None:
    server.fail_next("DescribeRegistry", "ValidationException")
    refused(ecr.describe_registry)
    (record,) = oci.get("/_emulator/audit?eventName=DescribeRegistry").json()["Records"]
    assert (record["errorCode"], record["errorMessage"]) == (
        "ValidationException",
        "DescribeRegistry was to fail",
    )


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"operation": "Describe"}, "operation must be one of the API's"),
        ({"operation": None}, "operation must be one of the API's"),
        ({"error": "LayersNotFoundException"}, "error must be one that DescribeRegistry can have"),
        ({"error": "EcrError"}, "error must be one that DescribeRegistry can have"),
        ({"error": "Any"}, "error must be one that DescribeRegistry can have"),
        ({"error": "annotations"}, "error must be one that DescribeRegistry can have"),
        ({"error": None}, "error must be one that DescribeRegistry can have"),
        ({"message": 1}, "message must be a string"),
        ({"times": 0}, "times must be a positive number or null"),
        ({"times": True}, "times must be a positive number or null"),
        ({"times": "1"}, "times must be a positive number or null"),
        ({"account": "1"}, "account must be 12 digits"),
        (
            {"delay": 1},
            "the body must be an object with account or error or message or operation or region or times",
        ),
    ],
)
def test_what_can_not_be_is_refused(oci: OciClient, changed: dict[str, Any], message: str) -> None:
    asked = {"operation": "DescribeRegistry", "error": "ServerException"}
    answer = post(oci, asked | changed)
    assert (answer.status, answer.json()) == (400, {"error": message})
    assert oci.get("/_emulator/faults").json() == {"faults": []}
