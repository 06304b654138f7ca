"""Starting and stopping: what survives, what is left behind, what is said when it can't be done."""

import fcntl
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from ecr_emulator import __version__
from ecr_emulator.testing import BackgroundServer
from tests.contract.conftest import put_image, sha256
from tests.contract.oci_client import OciClient, api_client
from tests.faults.conftest import (
    COMMAND,
    STOP_TIMEOUT,
    ServerProcess,
    begin_request,
    eventually,
    upload_files,
)

ACCOUNT, REGION = "123456789012", "eu-west-1"
CONTENT = bytes(range(256)) * 4000


def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run the command, which is to end by itself."""
    return subprocess.run(
        [*COMMAND, *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=STOP_TIMEOUT,
        env={**os.environ, **environment},
    )


def without_metadata(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name != "ResponseMetadata"}


def described(client: Any) -> dict[str, Any]:
    """Return all that the API says of a registry's repositories."""
    repositories = client.describe_repositories()["repositories"]
    return {
        repository["repositoryName"]: {
            "repository": repository,
            "tags": client.list_tags_for_resource(resourceArn=repository["repositoryArn"])["tags"],
            "images": sorted(
                client.describe_images(repositoryName=repository["repositoryName"])["imageDetails"],
                key=lambda detail: str(detail["imageDigest"]),
            ),
        }
        for repository in repositories
    }


@pytest.mark.parametrize("way", ["stopped", "killed"])
def test_a_data_folder_survives_a_restart_with_all_that_is_in_it(data_dir: Path, way: str) -> None:
    server = ServerProcess("--data-dir", str(data_dir), "--auth", "token", "--clock", "2030-01-01T00:00:00Z")
    with server:
        client = server.api
        client.create_repository(
            repositoryName="plain", tags=[{"Key": "team", "Value": "größe"}, {"Key": "empty", "Value": ""}]
        )
        client.create_repository(
            repositoryName="settings/all",
            imageTagMutability="IMMUTABLE_WITH_EXCLUSION",
            imageTagMutabilityExclusionFilters=[{"filterType": "WILDCARD", "filter": "dev-*"}],
            imageScanningConfiguration={"scanOnPush": True},
            encryptionConfiguration={"encryptionType": "KMS", "kmsKey": "alias/key"},
        )
        other = api_client(server.url, ACCOUNT, REGION)
        other.create_repository(repositoryName="plain")
        put_image(other, "plain", "there", seed="there")
        (issued,) = client.get_authorization_token()["authorizationData"]
        login = {"Authorization": f"Basic {issued['authorizationToken']}"}
        oci = OciClient(server.address, **login)
        image = oci.push_image("plain", "v1")
        oci.push_manifest("plain", "v2", image.manifest)
        untagged = oci.push_image("settings/all", seed="untagged")
        assert oci.get("/v2/plain/manifests/v1").status == 200
        page_token = client.describe_repositories(maxResults=1)["nextToken"]
        second_page = without_metadata(client.describe_repositories(maxResults=1, nextToken=page_token))
        download = client.get_download_url_for_layer(
            repositoryName="plain", layerDigest=sha256(image.blobs[1])
        )["downloadUrl"]
        before, before_there = described(client), described(other)
        assert before["plain"]["images"][0]["lastRecordedPullTime"]
        server.kill() if way == "killed" else server.stop()

        server.start()
        client, other = server.api, api_client(server.url, ACCOUNT, REGION)
        # URIs have the port, which is another one now.
        for scope in (before, before_there):
            for entry in scope.values():
                name = entry["repository"]["repositoryName"]
                entry["repository"]["repositoryUri"] = f"{server.address}/{name}"
        assert described(client) == before
        assert described(other) == before_there
        with_token = without_metadata(client.describe_repositories(maxResults=1, nextToken=page_token))
        for entry in second_page["repositories"]:
            entry["repositoryUri"] = f"{server.address}/{entry['repositoryName']}"
        assert with_token == second_page
        oci = OciClient(server.address, **login)
        assert oci.get("/v2/").status == 200
        for reference in ("v1", "v2", image.digest):
            assert oci.get(f"/v2/plain/manifests/{reference}").body == image.manifest
        assert oci.get(f"/v2/settings/all/manifests/{untagged.digest}").body == untagged.manifest
        for content in image.blobs:
            assert oci.get(f"/v2/plain/blobs/{sha256(content)}").body == content
        path = download.removeprefix("http://").partition("/")[2]
        assert OciClient(server.address).get(f"/{path}").body == image.blobs[1]
        # The setting is as alive as before: dev-1 can be moved, v1 can not.
        for seed, statuses in (("first", (201, 201)), ("second", (201, 400))):
            moving = oci.push_image("settings/all", seed=seed)
            for tag, status in zip(("dev-1", "v1"), statuses, strict=True):
                assert oci.push_manifest("settings/all", tag, moving.manifest).status == status


def test_a_policy_survives_a_restart(server: ServerProcess) -> None:
    policy = '{"Version": "2012-10-17", "Statement": []}'
    rule = {
        "rulePriority": 1,
        "selection": {"tagStatus": "untagged", "countType": "imageCountMoreThan", "countNumber": 3},
        "action": {"type": "expire"},
    }
    policies = {
        "repository": json.loads(policy) | {"Statement": [ALLOW]},
        "lifecycle": {"rules": [rule]},
    }
    client = server.api
    client.set_repository_policy(repositoryName="app", policyText=json.dumps(policies["repository"]))
    client.put_lifecycle_policy(repositoryName="app", lifecyclePolicyText=json.dumps(policies["lifecycle"]))
    server.stop()
    server.start()
    client = server.api
    kept = client.get_repository_policy(repositoryName="app")["policyText"]
    assert json.loads(kept) == policies["repository"]
    kept = client.get_lifecycle_policy(repositoryName="app")["lifecyclePolicyText"]
    assert json.loads(kept) == policies["lifecycle"]


ALLOW = {
    "Sid": "pull",
    "Effect": "Allow",
    "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
    "Action": ["ecr:BatchGetImage"],
}


def test_a_restart_puts_the_clock_back_to_real_time(server: ServerProcess) -> None:
    server.manage("clock", {"now": "2030-01-01T00:00:00Z"})
    assert server.oci.get("/_emulator/clock").json()["now"].startswith("2030-01-01T")
    server.stop()
    server.start()
    assert server.oci.get("/_emulator/clock").json()["epoch"] == pytest.approx(time.time(), abs=10)


def test_a_throwaway_server_leaves_nothing_behind(tmp_path: Path) -> None:
    with ServerProcess("--data-dir", ":memory:", environment={"TMPDIR": str(tmp_path)}) as server:
        server.api.create_repository(repositoryName="app")
        server.oci.push_image("app", "v1")
        server.oci.patch(server.oci.begin_upload("app"), CONTENT)
        assert list(tmp_path.iterdir()) != []
        assert server.stop() == 0
        assert list(tmp_path.iterdir()) == []
        server.start()
        assert server.api.describe_repositories()["repositories"] == []


def test_what_a_killed_throwaway_server_left_is_removed_by_the_next(tmp_path: Path) -> None:
    environment = {"TMPDIR": str(tmp_path)}
    (tmp_path / "somebody else's").mkdir()
    with (
        ServerProcess("--data-dir", ":memory:", environment=environment) as alive,
        ServerProcess("--data-dir", ":memory:", environment=environment) as killed,
    ):
        for server in (alive, killed):
            server.api.create_repository(repositoryName="app")
            server.oci.push_image("app", "v1")
        mine = set(tmp_path.iterdir())
        killed.kill()
        assert set(tmp_path.iterdir()) == mine
        with ServerProcess("--data-dir", ":memory:", environment=environment) as following:
            assert following.api.describe_repositories()["repositories"] == []
            # The folders of the one that runs, of the new one, and what is nobody's business.
            assert len(list(tmp_path.iterdir())) == 3
            image = alive.oci.push_image("app", "v2", seed="newer")
            assert alive.oci.get("/v2/app/manifests/v2").body == image.manifest
            assert alive.oci.get(f"/v2/app/blobs/{sha256(image.blobs[1])}").body == image.blobs[1]
    assert [path.name for path in tmp_path.iterdir()] == ["somebody else's"]


@pytest.mark.parametrize("when", ["before it is opened", "before it is locked"])
def test_a_throwaway_folder_that_another_server_removed_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    make, lock = tempfile.mkdtemp, fcntl.flock
    made: list[str] = []

    def make_folder(**arguments: str) -> str:
        made.append(make(**arguments))
        if len(made) == 1 and when == "before it is opened":
            os.rmdir(made[0])
        return made[-1]

    def lock_file(descriptor: int, operation: int) -> None:
        if len(made) == 1 and when == "before it is locked":
            os.rmdir(made[0])
        lock(descriptor, operation)

    monkeypatch.setattr(tempfile, "mkdtemp", make_folder)
    monkeypatch.setattr(fcntl, "flock", lock_file)
    with BackgroundServer() as server:
        api_client(server.url).create_repository(repositoryName="app")
        assert OciClient(server.address).push_image("app", "v1").digest
    assert len(made) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_reset_removes_the_bytes_too(server: ServerProcess, data_dir: Path) -> None:
    server.oci.push_image("app", "v1")
    server.oci.patch(server.oci.begin_upload("app"), CONTENT)
    blobs = data_dir / "blobs"
    assert [path for path in blobs.rglob("*") if path.is_file()] != []
    assert upload_files(data_dir) != []
    server.manage("reset", {})
    assert [path for path in blobs.rglob("*") if path.is_file()] == []
    assert upload_files(data_dir) == []
    assert {path.name for path in data_dir.iterdir() if "sqlite" not in path.name} == {"blobs", "uploads"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_under_way_is_finished_before_the_server_stops(
    server: ServerProcess, data_dir: Path, number: signal.Signals
) -> None:
    location = server.oci.begin_upload("app")
    path = f"{location}?digest={sha256(CONTENT)}"
    with begin_request(server.address, "PUT", path, len(CONTENT), CONTENT[:1000]) as connection:
        eventually(lambda: upload_files(data_dir) != [])
        server.process.send_signal(number)
        eventually(lambda: "stopping" in server.log)
        eventually(lambda: refuses(server.address))
        assert server.process.poll() is None
        connection.sendall(CONTENT[1000:])
        answer = connection.recv(1000)
    assert answer.startswith(b"HTTP/1.1 201 ")
    assert server.wait() == 0
    assert "Traceback" not in server.log
    server.start()
    assert server.oci.get(f"/v2/app/blobs/{sha256(CONTENT)}").body == CONTENT


def refuses(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_connection_without_request_does_not_keep_the_server_up(server: ServerProcess) -> None:
    host, _, port = server.address.rpartition(":")
    address = (host, int(port))
    with socket.create_connection(address) as unused, socket.create_connection(address) as idle:
        idle.sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
        assert idle.recv(1000).startswith(b"HTTP/1.1 200 ")
        started = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - started < 3
        assert unused.recv(1) == b""


def assert_refused(ended: "subprocess.CompletedProcess[str]", *words: str, code: int) -> None:
    """Check that the command ended with one line that says what is wrong."""
    assert ended.returncode == code, ended
    lines = ended.stderr.strip().splitlines()
    assert "Traceback" not in ended.stderr
    assert len(lines) == 1, ended.stderr
    assert lines[0].startswith("ecr-emulator: ")
    for word in words:
        assert word in lines[0]


def test_a_taken_port_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = run("serve", "--data-dir", ":memory:", "--port", port)
        assert_refused(ended, f"port {port} on 127.0.0.1 is taken", "--port", code=1)


def test_an_address_that_is_not_of_this_machine_is_told() -> None:
    ended = run("serve", "--data-dir", ":memory:", "--port", "0", "--host", "192.0.2.1")
    assert_refused(ended, "can't listen on 192.0.2.1", code=1)


@pytest.mark.parametrize("place", ["a file", "below a file", "where no folder can be"])
def test_a_data_folder_that_is_not_writable_is_told(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    folder = {
        "a file": tmp_path / "file",
        "below a file": tmp_path / "file" / "data",
        # Root may write anywhere but here.
        "where no folder can be": Path("/proc/data"),
    }[place]
    ended = run("serve", "--data-dir", str(folder), "--port", "0")
    assert_refused(ended, str(folder), "not writable", "--data-dir", code=1)


def test_a_data_folder_of_a_newer_version_is_told_and_left_alone(data_dir: Path) -> None:
    data_dir.mkdir()
    with sqlite3.connect(data_dir / "metadata.sqlite") as database:
        database.execute("PRAGMA user_version = 9999")
    database.close()
    ended = run("serve", "--data-dir", str(data_dir), "--port", "0")
    assert_refused(ended, str(data_dir), "schema 9999", code=1)
    with sqlite3.connect(data_dir / "metadata.sqlite") as database:
        assert database.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    database.close()


@pytest.mark.parametrize("kept", [0, 4096], ids=["wholly", "past its first page"])
def test_a_data_folder_whose_database_is_broken_is_told(
    server: ServerProcess, data_dir: Path, kept: int
) -> None:
    server.stop()
    file = data_dir / "metadata.sqlite"
    content = file.read_bytes()
    file.write_bytes(content[:kept] + b"x" * (len(content) - kept))
    ended = run("serve", "--data-dir", str(data_dir), "--port", "0")
    assert_refused(ended, str(data_dir), "database", code=1)


def test_a_data_folder_whose_database_lacks_a_table_is_told(server: ServerProcess, data_dir: Path) -> None:
    server.stop()
    database = sqlite3.connect(data_dir / "metadata.sqlite")
    database.execute("DROP TABLE server_values")
    database.close()
    ended = run("serve", "--data-dir", str(data_dir), "--port", "0")
    assert_refused(ended, str(data_dir), "no such table: server_values", code=1)


BAD_SETTINGS = {
    "a port that is no number": ((), {"ECR_EMULATOR_PORT": "http"}, "port must be a whole number"),
    "a port too high": ((), {"ECR_EMULATOR_PORT": "65536"}, "port must be between 0 and 65535"),
    "a port too high as a flag": (("--port", "65536"), {}, "port must be between 0 and 65535"),
    "an account of letters": (("--account-id", "mine"), {}, "account_id must be 12 digits"),
    "no region": (("--region", ""), {}, "region must be"),
    "a choice that is none": ((), {"ECR_EMULATOR_AUTH": "maybe"}, "auth must be one of"),
    "a file that is not there": (
        ("--config", "/nowhere/settings.toml"),
        {},
        "can't read /nowhere/settings.toml",
    ),
    "a time that is none": (("--clock", "yesterday"), {}, "clock must be a time"),
}


@pytest.mark.parametrize(("arguments", "environment", "message"), BAD_SETTINGS.values(), ids=BAD_SETTINGS)
def test_a_setting_that_is_wrong_is_told(
    arguments: tuple[str, ...], environment: dict[str, str], message: str
) -> None:
    ended = run("serve", "--data-dir", ":memory:", *arguments, **environment)
    assert_refused(ended, message, code=1 if "clock" in message else 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("port = ", "can't read"),
        ('nonsense = "x"', "unknown settings: nonsense"),
        ('port = "4510"', "port must be of type int"),
        ("auth = true", "auth must be of type str"),
    ],
)
def test_a_settings_file_that_is_wrong_is_told(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(text)
    assert_refused(run("serve", "--config", str(file)), message, code=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("serve", "--nonsense"), "unrecognized arguments: --nonsense"),
        (("serve", "--port", "http"), "--port"),
        (("serve", "--auth", "maybe"), "--auth"),
        (("nonsense",), "nonsense"),
        ((), "COMMAND"),
    ],
)
def test_a_command_line_that_is_wrong_is_told(arguments: tuple[str, ...], message: str) -> None:
    ended = run(*arguments)
    assert ended.returncode == 2
    assert ended.stderr.startswith("usage: ecr-emulator")
    assert message in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr


def test_the_version_is_told() -> None:
    ended = run("--version")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"ecr-emulator {__version__}\n", "")


def test_the_help_names_every_setting() -> None:
    ended = run("serve", "--help")
    assert (ended.returncode, ended.stderr) == (0, "")
    for flag in (
        "--config",
        "--host",
        "--port",
        "--data-dir",
        "--account-id",
        "--region",
        "--public-endpoint",
        "--auth",
        "--layer-check",
        "--oci-deletes",
        "--oci-catalog",
        "--clock",
        "--log-format",
        "--log-level",
    ):
        assert re.search(rf"^  {flag}\b", ended.stdout, re.MULTILINE), flag
    assert "serve" in run("--help").stdout


def test_a_flag_wins_over_a_variable_and_a_variable_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('account_id = "111111111111"\nregion = "eu-north-1"\ndata_dir = "/nowhere/at/all"\n')
    with ServerProcess(
        "--config",
        str(file),
        "--data-dir",
        ":memory:",
        environment={"ECR_EMULATOR_REGION": "eu-west-3", "ECR_EMULATOR_DATA_DIR": "/proc/data"},
    ) as server:
        client = api_client(server.url)
        assert client.create_repository(repositoryName="app")["repository"]["registryId"] == "111111111111"
        # Nobody names a region here but the server's settings.
        assert server.oci.get("/v2/app/tags/list").status == 200
        host = {"Host": "111111111111.dkr.ecr.eu-west-3.amazonaws.com"}
        assert server.oci.get("/v2/app/tags/list", host).error == (404, "NAME_UNKNOWN")


def test_json_lines_carry_the_request_id_that_the_response_has(data_dir: Path) -> None:
    with ServerProcess("--data-dir", str(data_dir), "--log-format", "json") as server:
        created = server.api.create_repository(repositoryName="app")["ResponseMetadata"]["RequestId"]
        with pytest.raises(Exception, match="RepositoryAlreadyExistsException") as refused:
            server.api.create_repository(repositoryName="app")
        again = refused.value.response["ResponseMetadata"]["RequestId"]
        server.oci.get("/v2/app/manifests/none%0Aforged")
        assert server.stop() == 0
        lines = [json.loads(line) for line in server.lines]
    assert lines[0]["message"].startswith("listening on http://")
    by_id = {line["request_id"]: line for line in lines if "request_id" in line}
    assert len(by_id) == 3
    for request_id, status in ((created, 200), (again, 400)):
        line = by_id.pop(request_id)
        assert line["status"] == status
        assert (line["method"], line["path"], line["operation"]) == ("POST", "/", "CreateRepository")
        assert line["level"] == "info"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
    (line,) = by_id.values()
    assert (line["method"], line["status"]) == ("GET", 404)
    assert line["path"] == "/v2/app/manifests/none\\nforged"


def test_log_lines_for_people_are_one_line_each(data_dir: Path) -> None:
    with ServerProcess("--data-dir", str(data_dir)) as server:
        request_id = server.api.describe_repositories()["ResponseMetadata"]["RequestId"]
        server.oci.get("/v2/app/manifests/none%0D%0Aforged")
        assert server.stop() == 0
        lines = list(server.lines)
    (line,) = [line for line in lines if request_id in line]
    assert "method=POST path=/ operation=DescribeRepositories status=200" in line
    assert len(lines) == 4
    assert not any(line.startswith("forged") for line in lines)


def test_only_lines_as_severe_as_the_level_are_logged(data_dir: Path) -> None:
    ended = run("serve", "--data-dir", str(data_dir), "--log-level", "loud")
    assert ended.returncode == 2
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    process = subprocess.Popen(
        [*COMMAND, "serve", "--data-dir", str(data_dir), "--port", str(port), "--log-level", "error"],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        eventually(lambda: not refuses(f"127.0.0.1:{port}"))
        assert OciClient(f"127.0.0.1:{port}").get("/v2/").status == 200
    finally:
        process.terminate()
        _, log = process.communicate(timeout=STOP_TIMEOUT)
    assert (process.returncode, log) == (0, "")
