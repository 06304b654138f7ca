"""The file with keys: what it says, and what is refused; which key is for what."""

import base64
import json

import pytest

from ecr_emulator.core.encryption import NO_ENCRYPTION, Encryption, KeysFileError, fingerprint
from ecr_emulator.core.errors import KmsException
from ecr_emulator.core.registry import Registry

KEYS = [bytes([number]) * 32 for number in range(4)]
REGISTRY = Registry("111122223333", "eu-west-1")
ARN = "arn:aws:kms:eu-west-1:111122223333"


@pytest.fixture
def written(tmp_path):
    """Write a file with keys and return its path."""

    def write(text, name="keys.toml"):
        file = tmp_path / name
        file.write_text(text)
        return str(file)

    return write


def test_without_a_file_nothing_is_encrypted():
    encryption = Encryption.load("")
    for kind, key in (("AES256", None), ("KMS", "alias/anything"), ("KMS_DSSE", f"{ARN}:key/1")):
        assert encryption.key_name(REGISTRY, kind, key) == ""


@pytest.mark.parametrize(
    "form", [bytes.hex, lambda key: key.hex().upper(), lambda key: base64.b64encode(key).decode()]
)
def test_keys_are_in_hex_or_base64_and_the_file_in_toml_or_json(written, form):
    names = {"AES256": form(KEYS[1]), f"{ARN}:key/1-2": form(KEYS[2]), "alias/aws/ecr": form(KEYS[3])}
    wanted = dict(zip(names, KEYS[1:], strict=True))
    text = "\n".join(f'"{name}" = "{key}"' for name, key in names.items())
    assert Encryption.load(written(text)).keys == wanted
    assert Encryption.load(written(json.dumps(names), "keys.json")).keys == wanted


GOOD = KEYS[1].hex()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must have a key for AES256"),
        ("AES256 =", "can't read the keys"),
        (f'"alias/app" = "{GOOD}"', "must have a key for AES256"),
        (f'AES256 = "{GOOD[2:]}"', "32 bytes, in base64 or hex, for AES256"),
        (f'AES256 = "{GOOD}00"', "32 bytes, in base64 or hex, for AES256"),
        ('AES256 = "not a key at all, but long enough to be"', "for AES256"),
        ("AES256 = 5", "for AES256"),
        ('[AES256]\nkey = "x"', "for AES256"),
        (f'AES256 = "{GOOD}"\n"arn:aws:s3:::x" = "{GOOD}"', "not 'arn:aws:s3:::x'"),
        (f'AES256 = "{GOOD}"\n"alias/" = "{GOOD}"', "not 'alias/'"),
        (f'AES256 = "{GOOD}"\n"a key" = "{GOOD}"', "not 'a key'"),
    ],
)
def test_a_file_that_is_none_is_told(written, text, message):
    with pytest.raises(KeysFileError, match=message) as raised:
        Encryption.load(written(text))
    # Whatever is wrong with a key, it is nobody's who reads the log.
    assert GOOD[4:20] not in str(raised.value)


def test_a_file_that_is_not_there_or_no_text_is_told(tmp_path):
    with pytest.raises(KeysFileError, match="No such file"):
        Encryption.load(str(tmp_path / "absent.toml"))
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(KeysFileError, match="can't read"):
        Encryption.load(str(tmp_path / "binary.toml"))
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(KeysFileError, match="AES256"):
        Encryption.load(str(tmp_path / "list.json"))


@pytest.mark.parametrize(
    ("in_the_file", "asked", "found"),
    [
        (f"{ARN}:key/1", f"{ARN}:key/1", True),
        (f"{ARN}:key/1", "1", True),
        ("1", f"{ARN}:key/1", True),
        ("1", "1", True),
        ("alias/app", f"{ARN}:alias/app", True),
        (f"{ARN}:alias/app", "alias/app", True),
        ("alias/app", "alias/app", True),
        (f"{ARN}:key/1", "arn:aws:kms:us-east-1:111122223333:key/1", False),
        (f"{ARN}:key/1", "2", False),
        ("alias/app", "app", False),
        ("app", "alias/app", False),
        ("1", "a b", False),
        ("1", "", False),
    ],
)
def test_a_kms_key_is_known_by_its_arn_its_alias_or_its_id(in_the_file, asked, found):
    encryption = Encryption({"AES256": KEYS[0], in_the_file: KEYS[1]})
    if found:
        name = encryption.key_name(REGISTRY, "KMS", asked)
        assert name.endswith(fingerprint(KEYS[1]))
        assert encryption.cipher(name)
    else:
        with pytest.raises(KmsException, match="does not exist") as raised:
            encryption.key_name(REGISTRY, "KMS", asked)
        assert raised.value.details == {"kmsError": "NotFoundException"}


def test_every_type_and_every_key_has_a_name_of_its_own():
    encryption = Encryption({"AES256": KEYS[0], "alias/a": KEYS[1], "alias/b": KEYS[1]})
    names = {
        encryption.key_name(registry, kind, key)
        for registry in (REGISTRY, Registry("111122223333", "us-east-1"), Registry("2" * 12, "eu-west-1"))
        for kind in ("KMS", "KMS_DSSE")
        for key in ("alias/a", "alias/b")
    }
    assert len(names) == 12
    own = encryption.key_name(REGISTRY, "AES256", None)
    assert own not in names
    # S3's own keys are everybody's.
    assert own == encryption.key_name(Registry("2" * 12, "us-east-1"), "AES256", None)


def test_another_key_in_the_place_of_one_is_told():
    name = Encryption({"AES256": KEYS[0]}).key_name(REGISTRY, "AES256", None)
    with pytest.raises(KmsException, match="The key 'AES256' is not the one") as raised:
        Encryption({"AES256": KEYS[1]}).cipher(name)
    assert raised.value.details == {"kmsError": "IncorrectKeyException"}
    with pytest.raises(KmsException, match="Key 'AES256' does not exist"):
        NO_ENCRYPTION.cipher(name)
