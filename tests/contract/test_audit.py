"""The audit trail and the metrics: what they tell of calls on both planes."""

import json
import re

import boto3
import pytest

from ecr_emulator.events import trail
from ecr_emulator.server import StartError
from ecr_emulator.settings import MEMORY, Settings
from ecr_emulator.testing import BackgroundServer
from tests.contract.blocking import unblocked_loop
from tests.contract.conftest import image_manifest, put_image, refused, sha256
from tests.contract.oci_client import OciClient, api_client
from tests.contract.registries import Registry
from tests.shapes import check_record

ACCOUNT, OTHER = "000000000000", "111111111111"
ARN = f"arn:aws:ecr:us-east-1:{ACCOUNT}:repository/app"


@pytest.fixture
def oci(server):
    return OciClient(server.address)


def records_of(oci, query="limit=1000"):
    """The records of the calls that there were, each of which has to be one of CloudTrail's."""
    answer = oci.get(f"/_emulator/audit?{query}")
    assert answer.status == 200, answer
    records = answer.json()["Records"]
    for record in records:
        check_record(record)
    return records


def names_of(records):
    return [record["eventName"] for record in records]


def test_a_call_of_the_api_is_recorded_with_what_was_asked_and_answered(ecr, oci):
    made = ecr.create_repository(repositoryName="app", imageTagMutability="IMMUTABLE")
    (record,) = records_of(oci)
    metadata = made["ResponseMetadata"]
    assert record["eventName"] == "CreateRepository"
    assert record["eventSource"] == "ecr.amazonaws.com"
    assert record["requestID"] == metadata["RequestId"]
    assert record["requestParameters"] == {"repositoryName": "app", "imageTagMutability": "IMMUTABLE"}
    assert record["responseElements"]["repository"]["repositoryArn"] == ARN
    assert record["resources"] == [{"accountId": ACCOUNT, "type": "AWS::ECR::Repository", "ARN": ARN}]
    assert record["userIdentity"]["type"] == "Root"
    assert (record["awsRegion"], record["recipientAccountId"]) == ("us-east-1", ACCOUNT)
    assert (record["readOnly"], record["sourceIPAddress"]) == (False, "127.0.0.1")
    assert "Boto3" in record["userAgent"]
    assert "errorCode" not in record


def test_a_call_that_is_refused_is_recorded_with_its_error(ecr, oci, server):
    code, message = refused(ecr.describe_images, repositoryName="nothing")
    (record,) = records_of(oci)
    assert (record["errorCode"], record["errorMessage"]) == (code, message)
    assert record["requestParameters"] == {"repositoryName": "nothing"}
    assert (record["readOnly"], record["responseElements"]) == (True, None)
    refused(ecr.create_repository, repositoryName="NOT/valid")
    assert records_of(oci)[1]["errorCode"] == "InvalidParameterException"
    # It names no operation.
    assert OciClient(server.address, **{"X-Amz-Target": "x.Y"}).post("/", b"{}").status == 400
    assert len(records_of(oci)) == 2


def test_secrets_and_bytes_are_not_recorded(ecr, oci, repository):
    put_image(ecr, repository, "v1")
    token = ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
    url = ecr.get_download_url_for_layer(repositoryName=repository, layerDigest=sha256(b"layer seed"))
    text = oci.get("/_emulator/audit?limit=1000").body.decode()
    assert token not in text
    assert url["downloadUrl"].rpartition("/")[2] not in text
    parts = records_of(oci, "eventName=UploadLayerPart")
    assert [set(part["requestParameters"]) for part in parts] == [
        {"repositoryName", "uploadId", "partFirstByte", "partLastByte"}
    ] * 2
    (put,) = records_of(oci, "eventName=PutImage")
    assert put["requestParameters"]["imageManifest"] == put["responseElements"]["image"]["imageManifest"]


def test_a_push_and_a_pull_over_v2_are_recorded_as_the_calls_that_they_are(oci, repository):
    config, layer = b"config", b"layer"
    manifest = image_manifest(config, layer)
    for content in (config, layer):
        assert oci.head(f"/v2/app/blobs/{sha256(content)}").status == 404
    location = oci.begin_upload("app")
    oci.patch(location, config)
    oci.put(f"{location}?digest={sha256(config)}")
    oci.post(f"/v2/app/blobs/uploads/?digest={sha256(layer)}", layer)
    oci.push_manifest("app", "v1", manifest)
    oci.get("/v2/app/manifests/v1", {"Accept": "application/json, text/plain"})
    oci.get(f"/v2/app/blobs/{sha256(layer)}")
    oci.get(f"/v2/app/referrers/{sha256(manifest)}")
    _, *records = records_of(oci)
    assert names_of(records) == [
        "BatchCheckLayerAvailability",
        "BatchCheckLayerAvailability",
        "InitiateLayerUpload",
        "UploadLayerPart",
        "CompleteLayerUpload",
        "InitiateLayerUpload",
        "UploadLayerPart",
        "CompleteLayerUpload",
        "PutImage",
        "BatchGetImage",
        "GetDownloadUrlForLayer",
        "ListImageReferrers",
    ]
    of_app = {"registryId": ACCOUNT, "repositoryName": "app"}
    upload_id = location.rpartition("/")[2]
    assert [record["requestParameters"] for record in records[2:5]] == [
        of_app,
        {**of_app, "uploadId": upload_id},
        {**of_app, "uploadId": upload_id, "layerDigests": [sha256(config)]},
    ]
    assert [record["responseElements"] for record in records[2:5]] == [
        {"uploadId": upload_id},
        {**of_app, "lastByteReceived": len(config) - 1},
        {**of_app, "layerDigest": sha256(config)},
    ]
    # The steps of one request.
    assert len({record["requestID"] for record in records[5:8]}) == 1
    assert len({record["eventID"] for record in records}) == len(records)
    assert records[8]["requestParameters"]["imageTag"] == "v1"
    assert records[8]["responseElements"] == {
        "image": {**of_app, "imageId": {"imageDigest": sha256(manifest), "imageTag": "v1"}}
    }
    assert records[9]["requestParameters"] == {
        **of_app,
        "imageIds": [{"imageTag": "v1"}],
        "acceptedMediaTypes": ["application/json", "text/plain"],
    }
    assert records[9]["resources"][0]["ARN"] == ARN
    assert (records[0]["errorCode"], records[0]["readOnly"]) == ("LayersNotFoundException", True)


def test_a_push_over_v2_that_is_refused_is_its_last_step(oci, repository):
    location = oci.begin_upload("app")
    wrong = sha256(b"other")
    assert oci.put(f"{location}?digest={wrong}", b"content").status == 400
    assert oci.get("/v2/app/manifests/v1").status == 404
    assert oci.get("/v2/app/manifests/%20").status == 404
    _, _, refusal, *pulls = records_of(oci)
    assert (refusal["eventName"], refusal["errorCode"]) == ("CompleteLayerUpload", "InvalidLayerException")
    assert [pull["errorCode"] for pull in pulls] == ["ImageNotFoundException"] * 2


def test_pings_and_paths_of_nothing_are_no_calls(oci, repository):
    oci.get("/v2/")
    oci.get("/v2/app/nothing")
    oci.post("/v2/app/manifests/v1")
    oci.get("/_emulator/health")
    assert names_of(records_of(oci)) == ["CreateRepository"]


def test_records_can_be_asked_for_by_what_they_are_about(server, ecr, oci, repository):
    other = Registry(server, OTHER, "eu-west-1")
    other.call("CreateRepository", repositoryName="app")
    server.manage("clock", {"now": "2030-01-31T12:00:00Z"})
    ecr.describe_repositories()
    root = f"arn:aws:iam::{OTHER}:root"
    assert names_of(records_of(oci, "eventName=CreateRepository")) == ["CreateRepository"] * 2
    assert names_of(records_of(oci, f"account={OTHER}")) == ["CreateRepository"]
    assert names_of(records_of(oci, "region=eu-west-1")) == ["CreateRepository"]
    assert names_of(records_of(oci, f"principal={root}")) == ["CreateRepository"]
    assert names_of(records_of(oci, "since=2030-01-31T12:00:00Z")) == ["DescribeRepositories"]
    assert names_of(records_of(oci, "limit=1")) == ["DescribeRepositories"]
    assert records_of(oci, "limit=0") == []
    for query in ("since=x", "limit=x", "name=CreateRepository"):
        assert oci.get(f"/_emulator/audit?{query}").status == 400
    server.manage("reset", {"account": OTHER})
    assert names_of(records_of(oci)) == ["CreateRepository", "DescribeRepositories"]
    server.reset()
    assert records_of(oci) == []


def test_what_a_lifecycle_policy_does_is_recorded(server, ecr, oci, repository):
    for number in range(13):
        oci.push_image("app", f"v{number}", seed=str(number))
    selection = {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 1}
    rule = {"rulePriority": 1, "selection": selection, "action": {"type": "expire"}}
    ecr.put_lifecycle_policy(repositoryName="app", lifecyclePolicyText=json.dumps({"rules": [rule]}))
    server.manage("run/lifecycle", {})
    records = records_of(oci, "eventName=PolicyExecutionEvent")
    actions = [record["serviceEventDetails"]["lifecycleEventImageActions"] for record in records]
    assert [len(images) for images in actions] == [10, 2]
    assert actions[0][0]["lifecycleEventImage"]["tagList"] == ["v0"]
    assert actions[0][0]["rulePriority"] == 1
    assert records[0]["resources"][0]["ARN"] == ARN


def test_only_the_newest_records_are_kept_in_memory(oci, monkeypatch):
    kept = trail.Trail()
    for number in range(trail.KEPT + 5):
        kept.add(_action(str(number)))
    records = kept.find(trail.Filter(), 10_000)
    assert len(records) == trail.KEPT
    assert records[0]["requestID"] == "5"


def _action(request_id):
    return trail.Action(
        operation="ListImages",
        account=ACCOUNT,
        region="us-east-1",
        caller_arn="",
        time=0.0,
        request_id=request_id,
        source_ip=None,
        user_agent=None,
        resources=(),
        request={},
    )


def test_callers_are_shown_and_denials_recorded(tmp_path):
    credentials = tmp_path / "credentials.toml"
    user = f"arn:aws:iam::{ACCOUNT}:user/reader"
    credentials.write_text(
        f"""
        [AKIAREADER]
        arn = "{user}"
        secret = "secret"
        [[AKIAREADER.policies]]
        Version = "2012-10-17"
        [[AKIAREADER.policies.Statement]]
        Effect = "Allow"
        Action = ["ecr:GetAuthorizationToken", "ecr:DescribeRepositories"]
        Resource = "*"
        """
    )
    settings = Settings(data_dir=MEMORY, port=0, auth="strict", credentials=str(credentials))
    with BackgroundServer(settings) as server, unblocked_loop():
        reader = boto3.client(
            "ecr",
            endpoint_url=server.url,
            region_name="us-east-1",
            aws_access_key_id="AKIAREADER",
            aws_secret_access_key="secret",
        )
        refused(reader.create_repository, repositoryName="app")
        refused(api_client(server.url).describe_repositories)
        token = reader.get_authorization_token()["authorizationData"][0]["authorizationToken"]
        oci = OciClient(server.address)
        # Told to log in, as every client is at first.
        assert oci.get("/v2/app/manifests/v1").status == 401
        assert oci.get("/v2/app/manifests/v1", {"Authorization": f"Basic {token}"}).status == 403
        assert oci.get("/v2/app/manifests/v1", {"Authorization": "Basic QVdTOng="}).status == 401
        denied, unknown, _, pull, forged = records_of(oci)
    assert denied["userIdentity"] == {
        "type": "IAMUser",
        "arn": user,
        "accountId": ACCOUNT,
        "userName": "reader",
    }
    assert denied["errorCode"] == "AccessDenied"
    assert "is not authorized to perform: ecr:CreateRepository" in denied["errorMessage"]
    assert unknown["userIdentity"] == forged["userIdentity"] == {"type": "Unknown"}
    assert unknown["errorCode"] == "UnrecognizedClientException"
    assert (pull["userIdentity"]["userName"], pull["errorCode"]) == ("reader", "AccessDenied")
    assert (forged["eventName"], forged["errorCode"]) == ("BatchGetImage", "UNAUTHORIZED")


def test_the_audit_log_has_every_record_as_a_line(tmp_path, ecr_registry):
    file, rotated = tmp_path / "audit.jsonl", tmp_path / "audit.jsonl.1"
    with BackgroundServer(Settings(data_dir=MEMORY, port=0, audit_log=str(file))) as server:
        oci = OciClient(server.address)
        with unblocked_loop():
            api_client(server.url).create_repository(repositoryName="app")
            for number in range(20):
                oci.push_image("app", f"v{number}", seed=str(number))
        known = records_of(oci)
    assert [json.loads(line) for line in file.read_text().splitlines()] == known
    assert len(known) == 1 + 20 * 7
    file.rename(rotated)
    with BackgroundServer(Settings(data_dir=MEMORY, port=0, audit_log=str(file))) as server:
        api_client(server.url).describe_repositories()
    assert len(file.read_text().splitlines()) == 1
    assert len(rotated.read_text().splitlines()) == len(known)


def test_an_audit_log_that_can_not_be_written_is_told_at_the_start(tmp_path):
    with (
        pytest.raises(StartError, match=r"can't write the audit log .*: Is a directory"),
        BackgroundServer(Settings(data_dir=MEMORY, port=0, audit_log=str(tmp_path))),
    ):
        pass


# -------------------------------------------------------------------------------------------- metrics


def metrics_of(oci):
    """The values of the metrics, by name and labels."""
    answer = oci.get("/_emulator/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    lines = [line for line in answer.body.decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def request_of(plane, operation, status):
    return f'ecr_emulator_requests_total{{operation="{operation}",plane="{plane}",status="{status}"}}'


def test_metrics_count_requests_and_what_is_there(tmp_path, ecr_registry):
    sink = f"file://{tmp_path / 'events.jsonl'}"
    settings = Settings(data_dir=MEMORY, port=0, engines="off", event_sinks=[sink])
    with BackgroundServer(settings) as server, unblocked_loop():
        oci, ecr = OciClient(server.address), api_client(server.url)
        ecr.create_repository(repositoryName="app")
        ecr.put_image_scanning_configuration(
            repositoryName="app", imageScanningConfiguration={"scanOnPush": True}
        )
        Registry(server, ACCOUNT, "us-east-1").replicate_to(Registry(server, ACCOUNT, "eu-west-1"))
        image = oci.push_image("app", "v1")
        oci.get("/v2/app/manifests/v1")
        refused(ecr.describe_images, repositoryName="nothing")
        oci.get("/v2/")
        oci.get("/nothing")
        metrics = metrics_of(oci)
    assert metrics[request_of("control", "CreateRepository", 200)] == 1
    assert metrics[request_of("control", "DescribeImages", 400)] == 1
    assert metrics[request_of("data", "CompleteLayerUpload", 201)] == 2
    assert metrics[request_of("data", "BatchGetImage", 200)] == 1
    assert metrics[request_of("data", "", 200)] == 1
    assert metrics[request_of("other", "", 404)] == 1
    seconds = 'ecr_emulator_request_duration_seconds_{}{{operation="CompleteLayerUpload",plane="data"}}'
    assert metrics[seconds.format("count")] == 2
    assert 0 < metrics[seconds.format("sum")] < 10
    bytes_of = 'ecr_emulator_{}_bytes_total{{operation="{}",plane="data"}}'
    assert metrics[bytes_of.format("received", "CompleteLayerUpload")] == sum(map(len, image.blobs))
    assert metrics[bytes_of.format("received", "PutImage")] == len(image.manifest)
    assert metrics[bytes_of.format("sent", "BatchGetImage")] > len(image.manifest)
    buckets = [value for name, value in metrics.items() if "_bucket" in name and "CreateRepo" in name]
    assert (buckets, buckets[-1]) == (sorted(buckets), 1)
    assert metrics['ecr_emulator_due_tasks{engine="replication"}'] == 1
    assert metrics[f'ecr_emulator_waiting_events{{sink="{sink}"}}'] == 1
    assert (metrics["ecr_emulator_repositories"], metrics["ecr_emulator_images"]) == (1, 1)


def test_the_log_names_operations_of_the_data_plane_too(oci, repository, caplog):
    with caplog.at_level("INFO", "ecr_emulator.access"):
        oci.push_image("app", "v1")
        oci.get("/_emulator/health")
    operations = [record.operation for record in caplog.records if record.message == "request"]
    assert {"InitiateLayerUpload", "CompleteLayerUpload", "PutImage"} <= set(operations)
    assert all(re.fullmatch(r"[A-Za-z]+", name) for name in operations if name)
