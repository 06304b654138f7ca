"""Where events go: files, webhooks, EventBridge and SQS (moto's); what fails is tried again, and alone."""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable

import boto3
import pytest
from moto.server import ThreadedMotoServer

from ecr_emulator.events.sinks import aws as aws_sinks
from ecr_emulator.events.sinks.base import SinkError
from ecr_emulator.events.sinks.selection import open_sinks
from ecr_emulator.server import StartError
from ecr_emulator.settings import MEMORY, Settings
from ecr_emulator.testing import BackgroundServer
from tests.contract.blocking import unblocked_loop
from tests.contract.conftest import image_manifest, upload_layer
from tests.contract.oci_client import OciClient, api_client
from tests.scanned_images import ADVISORIES, DEBIAN, layer
from tests.serving import free_port
from tests.shapes import check_event
from tests.webhook import Webhook

pytestmark = pytest.mark.usefixtures("ecr_registry")

DAY = 24 * 3600


@pytest.fixture
def webhook():
    hook = Webhook()
    yield hook
    hook.close()


def serving(*sinks, **settings):
    """A server with sinks and the repository app."""
    return BackgroundServer(
        Settings(**{"data_dir": MEMORY, "port": 0, "engines": "off", **settings}, event_sinks=list(sinks))
    )


def push(server, *tags):
    client = OciClient(server.address)
    for tag in tags:
        client.push_image("app", tag, seed=tag)


def tags_of(events):
    for event in events:
        check_event(event)
    return [event["detail"]["image-tag"] for event in events]


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def deliver(server):
    return server.manage("run/events", {})["done"]


def eventually(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not check():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)


def test_every_sink_gets_every_event_in_order(tmp_path, webhook):
    file = tmp_path / "events.jsonl"
    with serving(f"file://{file}", f"http://me:pass@{webhook.address}/hook?a=b") as server:
        api_client(server.url).create_repository(repositoryName="app")
        with unblocked_loop():
            push(server, "v1", "v2", "v3")
            assert deliver(server) == 6
            assert deliver(server) == 0
        known = OciClient(server.address).get("/_emulator/events").json()["events"]
        assert tags_of(known) == ["v1", "v2", "v3"]
        assert lines_of(file) == webhook.received == known
    assert webhook.headers["Content-Type"] == "application/json"
    assert webhook.headers["Authorization"] == "Basic bWU6cGFzcw=="


def test_the_engine_delivers_by_itself_and_what_is_left_when_the_server_stops(tmp_path):
    file = tmp_path / "events.jsonl"
    with serving(f"file://{file}", engines="on") as server:
        api_client(server.url).create_repository(repositoryName="app")
        push(server, "v1")
        eventually(lambda: tags_of(lines_of(file)) == ["v1"])
        push(server, "v2")
    assert tags_of(lines_of(file)) == ["v1", "v2"]


def test_a_sink_that_fails_is_tried_again_when_it_is_due(tmp_path, webhook, caplog):
    file = tmp_path / "events.jsonl"
    with serving(f"http://me:pass@{webhook.address}/hook?token=x", f"file://{file}", engines="on") as server:
        api_client(server.url).create_repository(repositoryName="app")
        # Further than the first delay, so that real time does not bring it about.
        webhook.status = 500
        push(server, "v1")
        eventually(lambda: webhook.refused >= 2)
        server.advance_clock(-0.5)
        assert tags_of(lines_of(file)) == ["v1"]
        webhook.status = 200
        server.advance_clock(60)
        eventually(lambda: tags_of(webhook.received) == ["v1"])
    assert tags_of(lines_of(file)) == ["v1"]
    told = [record.getMessage() for record in caplog.records if "not delivered" in record.getMessage()]
    assert told[0] == f"events are not delivered to http://{webhook.address}/hook: the answer was 500"


def test_what_arrived_before_a_failure_is_not_sent_again(webhook):
    with serving(f"http://{webhook.address}/") as server:
        api_client(server.url).create_repository(repositoryName="app")
        push(server, "v1", "v2", "v3", "v4")
        webhook.fail_after = 2
        assert deliver(server) == 2
        webhook.fail_after = None
        assert deliver(server) == 2
    assert tags_of(webhook.received) == ["v1", "v2", "v3", "v4"]


def test_a_sink_that_hangs_holds_up_no_other(tmp_path, webhook):
    file = tmp_path / "events.jsonl"
    webhook.gate.clear()
    with serving(f"http://{webhook.address}/", f"file://{file}", engines="on") as server:
        api_client(server.url).create_repository(repositoryName="app")
        for number in range(3):
            push(server, f"v{number}")
            eventually(lambda number=number: len(lines_of(file)) == number + 1)
        assert webhook.received == []
        webhook.gate.set()
        eventually(lambda: len(webhook.received) == 3)
        assert webhook.received == lines_of(file)


def test_what_no_sink_takes_for_a_day_is_given_up(caplog):
    sink = f"http://127.0.0.1:{free_port()}/"
    with serving(sink) as server:
        api_client(server.url).create_repository(repositoryName="app")
        push(server, "v1", "v2")
        server.advance_clock(DAY / 2)
        push(server, "v3")
        assert deliver(server) == 0
        assert "given up" not in caplog.text
        server.advance_clock(DAY / 2 + 60)
        assert deliver(server) == 0
        assert "2 events are given up" in caplog.text
        metrics = OciClient(server.address).get("/_emulator/metrics").body.decode()
        assert f'ecr_emulator_waiting_events{{sink="{sink}"}} 1.0' in metrics


def test_events_wait_over_a_restart_and_with_it_a_sink_may_change(tmp_path, webhook):
    file, data_dir = tmp_path / "events.jsonl", str(tmp_path / "data")
    down = f"http://127.0.0.1:{free_port()}/"
    with serving(down, f"http://{webhook.address}/", data_dir=data_dir) as server:
        api_client(server.url).create_repository(repositoryName="app")
        push(server, "v1")
    with serving(f"http://{webhook.address}/", f"file://{file}", data_dir=data_dir) as server:
        push(server, "v2")
        assert deliver(server) == 3
    assert (tags_of(webhook.received), tags_of(lines_of(file))) == (["v1", "v2"], ["v2"])


def test_half_a_line_that_a_crash_left_spoils_no_event(tmp_path):
    file = tmp_path / "events.jsonl"
    file.write_text('{"version": "0", "id"')
    with serving(f"file:{file}") as server:
        api_client(server.url).create_repository(repositoryName="app")
        push(server, "v1")
        assert deliver(server) == 1
    half, *whole = file.read_text().splitlines()
    assert half == '{"version": "0", "id"'
    assert tags_of([json.loads(line) for line in whole]) == ["v1"]


def test_a_reset_takes_what_waits(webhook):
    with serving(f"http://{webhook.address}/") as server:
        api_client(server.url).create_repository(repositoryName="app")
        push(server, "v1")
        server.reset()
        assert deliver(server) == 0
        api_client(server.url).create_repository(repositoryName="app")
        push(server, "v2")
        assert deliver(server) == 1
    assert tags_of(webhook.received) == ["v2"]


# ------------------------------------------------------------------------------- EventBridge and SQS


@pytest.fixture(scope="module")
def moto():
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def aws(moto):
    """Makes clients of moto, which is emptied."""
    boto3.client("sts", endpoint_url=moto, region_name="us-east-1")
    OciClient(moto.removeprefix("http://")).post("/moto-api/reset")
    return lambda service: boto3.client(service, endpoint_url=moto, region_name="eu-west-1")


@contextlib.contextmanager
def never_blocked():
    """Make a call that blocks the server's event loop an error; the one of a thread may be blocked."""
    with unblocked_loop() as detector:
        for function in detector.functions.values():
            function.can_block_in("ecr_emulator/events/sinks/aws.py", "_try_out")
        yield


def messages_of(sqs, queue_url, number):
    """The bodies of a queue's messages, in the order of sending where the queue keeps it."""
    bodies = []
    while len(bodies) < number:
        answer = sqs.receive_message(QueueUrl=queue_url, MaxNumberOfMessages=10)
        messages = answer.get("Messages", [])
        assert messages, bodies
        for message in messages:
            bodies.append(json.loads(message["Body"]))
            sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])
    return bodies


def test_a_queue_gets_events_as_they_are(moto, aws):
    sqs = aws("sqs")
    plain = sqs.create_queue(QueueName="plain")["QueueUrl"]
    fifo = sqs.create_queue(QueueName="ordered.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
    tags = [f"v{number}" for number in range(12)]
    with serving(*(f"sqs+{url}?region=eu-west-1" for url in (plain, fifo))) as server:
        api_client(server.url).create_repository(repositoryName="app")
        with never_blocked():
            push(server, *tags)
            assert deliver(server) == 24
    assert sorted(tags_of(messages_of(sqs, plain, 12))) == sorted(tags)
    assert tags_of(messages_of(sqs, fifo, 12)) == tags


def test_a_rule_of_eventbridge_matches_events(moto, aws):
    events, sqs = aws("events"), aws("sqs")
    queue_url = sqs.create_queue(QueueName="pushes")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    events.create_event_bus(Name="builds")
    pattern = {
        "source": ["aws.ecr"],
        "detail-type": ["ECR Image Action"],
        "detail": {"action-type": ["PUSH"]},
    }
    events.put_rule(Name="pushes", EventBusName="builds", EventPattern=json.dumps(pattern))
    events.put_targets(Rule="pushes", EventBusName="builds", Targets=[{"Id": "1", "Arn": arn}])
    sink = f"eventbridge+{moto}/builds"
    with serving(sink, region="eu-west-1", account_id="123456789012") as server:
        ecr = boto3.client("ecr", endpoint_url=server.url, region_name="eu-west-1")
        ecr.create_repository(repositoryName="app")
        push(server, "v1", "v2")
        ecr.batch_delete_image(repositoryName="app", imageIds=[{"imageTag": "v1"}])
        with never_blocked():
            assert deliver(server) == 3
        known = OciClient(server.address).get("/_emulator/events").json()["events"]
    received = messages_of(sqs, queue_url, 2)
    assert sqs.receive_message(QueueUrl=queue_url).get("Messages") is None
    given = ("detail-type", "source", "time", "region", "resources", "detail")
    assert [[event[key] for key in given] for event in received] == [
        [event[key] for key in given] for event in known[:2]
    ]


def test_a_rule_of_eventbridge_matches_inspectors_events(moto, aws):
    events, sqs = aws("events"), aws("sqs")
    queue_url = sqs.create_queue(QueueName="findings")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    pattern = {"source": ["aws.inspector2"], "detail": {"severity": ["HIGH"], "status": ["ACTIVE"]}}
    events.put_rule(Name="findings", EventPattern=json.dumps(pattern))
    events.put_targets(Rule="findings", Targets=[{"Id": "1", "Arn": arn}])
    with serving(
        f"eventbridge+{moto}/default", region="eu-west-1", vulnerability_database=str(ADVISORIES)
    ) as server:
        ecr = boto3.client("ecr", endpoint_url=server.url, region_name="eu-west-1")
        ecr.put_registry_scanning_configuration(scanType="ENHANCED")
        ecr.create_repository(repositoryName="app")
        config, content = b"{}", layer(DEBIAN)
        for blob in (config, content):
            upload_layer(ecr, "app", blob)
        ecr.put_image(repositoryName="app", imageManifest=image_manifest(config, content).decode())
        server.manage("run/scans", {})
        with never_blocked():
            # The repository, the push, two findings, and the end of the scan.
            assert deliver(server) == 5
    (received,) = messages_of(sqs, queue_url, 1)
    assert sqs.receive_message(QueueUrl=queue_url).get("Messages") is None
    assert (received["detail-type"], received["source"]) == ("Inspector2 Finding", "aws.inspector2")
    assert received["detail"]["title"] == "CVE-2023-5363 - openssl"


@pytest.mark.parametrize(
    ("url", "entries"),
    [("eventbridge+http://127.0.0.1:1/bus", "Entries"), ("sqs+http://127.0.0.1:1/0/q", "Entries")],
)
def test_large_events_are_not_sent_all_at_once(monkeypatch, url, entries):
    sent = []

    async def call(_service, _operation, **members):
        if len(sent) == refuse_after:
            raise SinkError("as if")
        sent.append(members[entries])
        return {"Entries": []}

    monkeypatch.setattr(aws_sinks._Service, "call", call)
    common = {"time": "2030-01-31T12:00:00Z", "source": "aws.ecr", "detail-type": "x", "resources": []}
    # Each character of the detail is three bytes.
    sizes = [30_000, 30_000, 50_000, 90_000, 1, 1, 1]
    events = [json.dumps({**common, "detail": "€" * size}, ensure_ascii=False) for size in sizes]
    (sink,) = open_sinks([url], "us-east-1")
    refuse_after = None
    asyncio.run(sink.send(events))
    assert [len(batch) for batch in sent] == [2, 1, 1, 3]
    sent.clear()
    refuse_after = 2
    with pytest.raises(SinkError, match="as if") as raised:
        asyncio.run(sink.send(events))
    assert raised.value.delivered == 3


def test_what_aws_refuses_waits(moto, aws, caplog):
    with serving(f"sqs+{moto}/123456789012/nothing", "sqs+http://127.0.0.1:1/0/nothing") as server:
        api_client(server.url).create_repository(repositoryName="app")
        push(server, "v1")
        assert deliver(server) == 0
        told = [record.getMessage() for record in caplog.records if "not delivered" in record.getMessage()]
        assert len(told) == 2
        assert any("QueueDoesNotExist" in text or "NonExistentQueue" in text for text in told)
        aws("sqs")
        boto3.client("sqs", endpoint_url=moto, region_name="us-east-1").create_queue(QueueName="nothing")
        assert deliver(server) == 1


# ------------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://host/x", "begins with none of file:, http:, https:, eventbridge+http:"),
        ("events.jsonl", "begins with none of"),
        ("http://", "names no host"),
        ("http://host:port/", "Port could not be cast"),
        ("file://host/x", "must have the form file:///PATH"),
        ("file:", "must have the form file:///PATH"),
        ("file:///no/such/folder/x", "there can be no file /no/such/folder/x"),
        ("eventbridge+http://127.0.0.1:5000", "must have the form eventbridge+http://HOST/NAME"),
        ("sqs+https://host/q?regions=x", "must have the form sqs+https://HOST/NAME"),
    ],
)
def test_a_sink_that_can_not_be_is_told_at_the_start(url, message):
    with pytest.raises(StartError) as raised, serving(url):
        pass
    assert message in str(raised.value)
    assert url in str(raised.value)


def test_a_library_that_is_missing_is_told_at_the_start(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(StartError, match=r"pip install 'ecr-emulator\[events\]'"), serving("sqs+http://h/q"):
        pass
