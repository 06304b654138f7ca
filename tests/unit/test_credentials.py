"""The credentials file: what it says, and what is refused."""

import pytest

from ecr_emulator.core.identities import AccessKey, Principals
from ecr_emulator.identity.credentials import CredentialsError, load
from ecr_emulator.server import StartError
from ecr_emulator.settings import MEMORY, Settings
from ecr_emulator.testing import BackgroundServer

ALICE = "arn:aws:iam::111122223333:user/alice"


@pytest.fixture
def written(tmp_path):
    """Write a credentials file and return its path."""

    def write(text):
        file = tmp_path / "credentials.toml"
        file.write_text(text)
        return str(file)

    return write


def test_without_a_file_nobody_is_known():
    assert load("") == Principals()


@pytest.mark.parametrize(
    "arn",
    [
        "arn:aws:iam::111122223333:root",
        "arn:aws:iam::111122223333:user/alice",
        "arn:aws-us-gov:iam::111122223333:role/a/b/name+=,.@-_",
        "arn:aws-cn:sts::111122223333:assumed-role/role/session",
        "arn:aws:sts::111122223333:federated-user/name",
    ],
)
def test_an_access_key_id_belongs_to_a_principal(written, arn):
    principals = load(written(f'[AKIA1]\narn = "{arn}"\n["444455556666"]\narn = "{arn}"\n'))
    assert principals.access_keys == {"AKIA1": AccessKey(arn), "444455556666": AccessKey(arn)}
    assert list(principals.identities) == [arn]


def test_a_principal_has_the_policies_of_all_its_keys(written, tmp_path):
    (tmp_path / "pull.json").write_text(
        '{"Statement": {"Sid": "pull", "Effect": "Allow", "Action": "ecr:BatchGetImage", "Resource": "*"}}'
    )
    principals = load(
        written(
            f"""
            [AKIA1]
            arn = "{ALICE}"
            secret = "s1"
            session_token = "t1"
            organization = "o-1"
            policies = ["pull.json"]

            [[AKIA2.policies]]
            Version = "2012-10-17"
            Statement = [{{Sid = "deny", Effect = "Deny", Action = ["s3:*", "ecr:*"], Resource = "*"}}]

            [AKIA2]
            arn = "{ALICE}"
            """
        )
    )
    assert principals.access_keys == {"AKIA1": AccessKey(ALICE, "s1", "t1"), "AKIA2": AccessKey(ALICE)}
    identity = principals.identities[ALICE]
    assert [statement.sid for statement in identity.statements] == ["pull", "deny"]
    assert identity.organization == "o-1"


@pytest.mark.parametrize(("policies", "sids"), [("", ["AdministratorAccess"]), ("policies = []", [])])
def test_without_policies_all_is_allowed_and_with_an_empty_list_nothing(written, policies, sids):
    identity = load(written(f"[AKIA1]\narn = '{ALICE}'\n{policies}")).identities[ALICE]
    assert [statement.sid for statement in identity.statements] == sids


def test_secrets_are_not_shown(written):
    principals = load(written(f"[AKIA1]\narn = '{ALICE}'\nsecret = 'hush'\nsession_token = 'hush'"))
    assert "hush" not in repr(principals)


def test_a_server_that_verifies_signatures_needs_a_secret_of_each_key(written):
    for text in ("", f"[AKIA1]\narn = '{ALICE}'\nsecret = 'x'\n[AKIA2]\narn = '{ALICE}'"):
        settings = Settings(data_dir=MEMORY, port=0, auth="strict", credentials=written(text))
        with pytest.raises(StartError, match="credentials file"):
            BackgroundServer(settings).start()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[AKIA1", "can't read the credentials file"),
        ("AKIA1 = 'arn:aws:iam::111122223333:root'", "must have an arn for AKIA1"),
        ("[AKIA1]", "must have an arn for AKIA1"),
        ("[AKIA1]\narn = 'arn:aws:iam::111122223333:root'\nsecert = 'x'", "must have an arn for AKIA1"),
        *(
            (f"[AKIA1]\narn = 'arn:aws:iam::111122223333:user/alice'\n{entry}", message)
            for entry, message in (
                ("secret = 1", "must have a text as secret of AKIA1"),
                ("session_token = ''", "must have a text as session_token of AKIA1"),
                ("policies = 'x'", "must have a list as policies of AKIA1"),
                ("policies = ['absent.json']", "has a policy that can't be read"),
                ("policies = [{Statement = []}]", "has something that is not an identity policy"),
                *(
                    (f"policies = [{{Statement = [{{{statement}}}]}}]", "is not an identity policy")
                    for statement in (
                        "Effect = 'Allow', Action = 'ecr:*'",
                        "Effect = 'Allow', Resource = '*'",
                        "Effect = 'allow', Action = 'ecr:*', Resource = '*'",
                        "Effect = 'Allow', Action = 'ecr:*', Resource = 'app'",
                        "Effect = 'Allow', Action = 'ecr:*', Resource = '*', Principal = '*'",
                        "Effect = 'Allow', Action = 'PutImage', Resource = '*'",
                        "Effect = 'Allow', Action = 'ecr:*', Resource = '*', Condition = {Is = {'a:x' = 1}}",
                    )
                ),
                (
                    "organization = 'o-1'\n[AKIA2]\norganization = 'o-2'\n"
                    "arn = 'arn:aws:iam::111122223333:user/alice'",
                    "has several organizations",
                ),
            )
        ),
        *(
            (f"[AKIA1]\narn = {arn}", "must have the ARN of a user, a role, a session or an account's root")
            for arn in (
                "1",
                "'*'",
                "'111122223333'",
                "'arn:aws:iam::1111:root'",
                "'arn:aws:iam::111122223333:group/admins'",
                "'arn:aws:iam::111122223333:user/'",
                "'arn:aws:iam::111122223333:user/*'",
                "'arn:aws:sts::111122223333:assumed-role/role'",
                "'arn:aws:ecr:us-east-1:111122223333:repository/app'",
            )
        ),
    ],
)
def test_a_file_that_is_wrong_is_refused(written, text, message):
    with pytest.raises(CredentialsError, match=message):
        load(written(text))


def test_a_server_does_not_start_with_a_file_that_is_not_there(tmp_path):
    settings = Settings(data_dir=MEMORY, port=0, credentials=str(tmp_path / "absent"))
    with pytest.raises(StartError, match="can't read the credentials file"):
        BackgroundServer(settings).start()
