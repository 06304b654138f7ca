"""``ecr-emulator explain`` tells of a running server's data what the server itself would decide."""

import json

import pytest

from ecr_emulator.cli import main
from ecr_emulator.settings import Settings
from ecr_emulator.testing import BackgroundServer

from .conftest import connect

# What is refused, or spoken, before anything is stored: the same whatever the stores are.
pytestmark = pytest.mark.local

ACCOUNT, OTHER = "111122223333", "444455556666"
ALICE = f"arn:aws:iam::{ACCOUNT}:user/alice"
REPOSITORY = f"arn:aws:ecr:us-east-1:{ACCOUNT}:repository/app"
DENY = {
    "Sid": "NotFromThere",
    "Effect": "Deny",
    "Principal": "*",
    "Action": "ecr:PutImage",
    "Condition": {"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}},
}
CREDENTIALS = f"""
[AKIAALICE]
arn = "{ALICE}"
policies = [{{Statement = [{{Sid = "Push", Effect = "Allow", Action = "ecr:Put*", Resource = "*"}}]}}]
"""


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """The settings of a server that is running, as flags."""
    folder = tmp_path_factory.mktemp("explained")
    file = folder / "credentials.toml"
    file.write_text(CREDENTIALS)
    data = str(folder / "data")
    with BackgroundServer(Settings(data_dir=data, port=0, credentials=str(file))) as server:
        owner = connect(server.url, ACCOUNT)
        owner.create_repository(repositoryName="app")
        owner.set_repository_policy(repositoryName="app", policyText=json.dumps({"Statement": [DENY]}))
        url = server._running.emulator.settings.metadata_url
        shared = ["--metadata-url", url] if url else []
        yield ["--data-dir", data, "--credentials", str(file), *shared]


def explain(settings, capsys, action="ecr:PutImage", resource=REPOSITORY, principal=ALICE, *more):
    with pytest.raises(SystemExit) as exited:
        main(
            [
                "explain",
                "--principal",
                principal,
                "--action",
                action,
                "--resource",
                resource,
                *more,
                *settings,
            ]
        )
    printed = capsys.readouterr()
    return exited.value.code, printed.out or printed.err


def test_what_is_allowed_is_shown_with_the_statement_that_allows_it(settings, capsys):
    code, text = explain(settings, capsys)
    head, statement = text.split("\n", 2)[:2], json.loads(text.split("\n", 2)[2])
    assert code == 0
    assert head == [
        f"ecr:PutImage on {REPOSITORY} by {ALICE}: ALLOWED",
        "by statement 1 (Push) of the identity policy:",
    ]
    assert statement == {"Sid": "Push", "Effect": "Allow", "Action": "ecr:Put*", "Resource": "*"}


def test_what_is_denied_is_shown_with_the_statement_that_denies_it(settings, capsys):
    code, text = explain(settings, capsys, "ecr:PutImage", REPOSITORY, ALICE, "--source-ip", "192.0.2.1")
    assert code == 3
    assert "DENIED, with an explicit deny in a resource-based policy" in text
    assert "by statement 1 (NotFromThere) of the repository policy:" in text


def test_what_nothing_allows_is_shown_with_that_reason(settings, capsys):
    assert explain(settings, capsys, "ecr:ListImages") == (
        3,
        f"ecr:ListImages on {REPOSITORY} by {ALICE}: DENIED, because no identity-based policy allows the "
        "ecr:ListImages action\n",
    )


@pytest.mark.parametrize(
    ("principal", "more", "code", "reason"),
    [
        (f"arn:aws:iam::{OTHER}:user/bob", (), 0, "is not in the credentials file and no policy denies it"),
        (
            f"arn:aws:iam::{OTHER}:user/bob",
            ("--auth", "strict"),
            3,
            "because no identity-based policy allows",
        ),
        (f"arn:aws:iam::{ACCOUNT}:root", ("--auth", "strict"), 0, "is the root of the account"),
        (f"arn:aws:iam::{OTHER}:root", ("--auth", "strict"), 3, "because no resource-based policy allows"),
    ],
)
def test_who_is_not_in_the_file_is_taken_as_the_server_takes_them(
    settings, capsys, principal, more, code, reason
):
    told, text = explain(settings, capsys, "ecr:ListImages", REPOSITORY, principal, *more)
    assert (told, reason in text) == (code, True)


def test_a_registry_is_meant_by_a_star(settings, capsys):
    assert explain(settings, capsys, "ecr:PutRegistryPolicy", "*")[0] == 0
    assert explain(settings, capsys, "ecr:GetAuthorizationToken", "*")[0] == 3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"principal": "alice"}, "is not the ARN of a principal"),
        ({"resource": "app"}, "is neither the ARN of a repository nor '*'"),
        ({"settings": ["--data-dir", "absent"]}, "does not exist"),
        ({"settings": ["--credentials", "absent.toml"]}, "can't read the credentials file"),
    ],
)
def test_what_cannot_be_explained_is_told(settings, capsys, given, message):
    code, text = explain(**{"settings": settings, "capsys": capsys, **given})
    assert (code, message in text) == (1, True)


def test_data_of_another_schema_is_not_read(tmp_path, capsys):
    import sqlite3

    connection = sqlite3.connect(tmp_path / "metadata.sqlite")
    connection.execute("PRAGMA user_version = 1")
    connection.close()
    code, text = explain(["--data-dir", str(tmp_path)], capsys)
    assert (code, "has schema 1" in text) == (1, True)
