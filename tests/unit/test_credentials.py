"""The credentials file: what it says, and what is refused."""

import pytest

from ecr_emulator.identity.credentials import CredentialsError, load
from ecr_emulator.server import StartError
from ecr_emulator.settings import MEMORY, Settings
from ecr_emulator.testing import BackgroundServer


@pytest.fixture
def written(tmp_path):
    """Write a credentials file and return its path."""

    def write(text):
        file = tmp_path / "credentials.toml"
        file.write_text(text)
        return str(file)

    return write


def test_without_a_file_nobody_is_known():
    assert load("") == {}


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
    assert load(written(f'[AKIA1]\narn = "{arn}"\n["444455556666"]\narn = "{arn}"\n')) == {
        "AKIA1": AccessKey(arn),
        "444455556666": AccessKey(arn),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[AKIA1", "can't read the credentials file"),
        ("AKIA1 = 'arn:aws:iam::111122223333:root'", "must have just an arn for AKIA1"),
        ("[AKIA1]", "must have just an arn for AKIA1"),
        ("[AKIA1]\narn = 'arn:aws:iam::111122223333:root'\nsecert = 'x'", "must have just an arn for AKIA1"),
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
