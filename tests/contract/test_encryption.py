"""Encryption at rest: with keys, what is stored of layers can be read by nobody else, and by us as ever."""

import contextlib
import http.client
import secrets
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from ecr_emulator.server import StartError
from ecr_emulator.settings import Settings
from ecr_emulator.testing import BackgroundServer
from tests.contract.blocking import unblocked_loop
from tests.contract.conftest import connect, image_manifest, put_image, sha256
from tests.contract.oci_client import OciClient, chunk_range, sha512
from tests.contract.registries import Registry, run
from tests.contract.test_oci_blobs import CONTENT, RANGES
from tests.contract.test_scanning import push as push_layers
from tests.scanned_images import ADVISORIES, DEBIAN, layer

ACCOUNT, OTHER = "000000000000", "111122223333"
KMS_KEY = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
DEFAULT_KEY = f"arn:aws:kms:us-east-1:{ACCOUNT}:alias/aws/ecr"
# What would be found again in a file that is not encrypted, in whatever part of it.
MARK = b"anybody could read this "
LARGE = MARK * 20_000
ENCRYPTIONS: dict[str, dict[str, str]] = {
    "AES256": {"encryptionType": "AES256"},
    "KMS": {"encryptionType": "KMS", "kmsKey": KMS_KEY},
    "the default KMS key": {"encryptionType": "KMS"},
    "KMS_DSSE": {"encryptionType": "KMS_DSSE", "kmsKey": KMS_KEY},
}
KEYS = {name: secrets.token_hex(32) for name in ("AES256", KMS_KEY, "alias/aws/ecr")}


class Home:
    """A data folder, and servers over it with these or other keys."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextlib.contextmanager
    def serve(self, keys: dict[str, str] | None, **more: Any) -> Any:
        given = {}
        if keys is not None:
            file = self.folder / "keys.toml"
            file.write_text("".join(f'"{name}" = "{key}"\n' for name, key in keys.items()))
            given = {"encryption_keys": str(file)}
        settings = Settings(data_dir=str(self.folder / "data"), port=0, engines="off", **given, **more)
        with BackgroundServer(settings) as server:
            yield server

    def stored(self) -> dict[str, bytes]:
        """What is stored of blobs and of uploads, by the names of their files."""
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for name in ("blobs", "uploads")
            for path in (self.folder / "data" / name).rglob("*")
            if path.is_file()
        }


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A server that encrypts, for the whole module."""
    home = Home(tmp_path_factory.mktemp("home"))
    with home.serve(KEYS, vulnerability_database=str(ADVISORIES)) as server:
        yield home, server


@pytest.fixture
def encrypting(kept: Any, ecr_registry: Any) -> Any:
    home, server = kept
    server.reset()
    with unblocked_loop():
        yield home, server


def create(api: Any, name: str = "app", encryption: str = "AES256") -> None:
    api.create_repository(repositoryName=name, encryptionConfiguration=ENCRYPTIONS[encryption])


def failure(operation: Any, **members: Any) -> tuple[str, str, str]:
    """Return code, KMS's own code and message of an operation that fails."""
    with pytest.raises(ClientError) as raised:
        operation(**members)
    response = raised.value.response
    return response["Error"]["Code"], response.get("kmsError", ""), response["Error"]["Message"]


def download(url: str, **headers: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


# ------------------------------------------------------------------------------------- what is stored


@pytest.mark.parametrize("plane", ["api", "v2"])
@pytest.mark.parametrize("encryption", ENCRYPTIONS)
def test_nothing_of_a_layer_is_ever_in_a_file(encrypting: Any, encryption: str, plane: str) -> None:
    home, server = encrypting
    api, oci = connect(server.url), OciClient(server.address)
    create(api, encryption=encryption)
    half = len(LARGE) // 2 + 11
    if plane == "api":
        upload = {
            "repositoryName": "app",
            "uploadId": api.initiate_layer_upload(repositoryName="app")["uploadId"],
        }
        api.upload_layer_part(**upload, partFirstByte=0, partLastByte=half - 1, layerPartBlob=LARGE[:half])
    else:
        location = oci.begin_upload("app")
        assert oci.patch(location, LARGE[:half]).status == 202
    (uploaded,) = home.stored().values()
    assert len(uploaded) > half
    assert MARK[5:15] not in uploaded
    if plane == "api":
        last = len(LARGE) - 1
        api.upload_layer_part(**upload, partFirstByte=half, partLastByte=last, layerPartBlob=LARGE[half:])
        digest = oci.put(f"/v2/app/blobs/uploads/{upload['uploadId']}?digest={sha256(LARGE)}").headers[
            "Docker-Content-Digest"
        ]
    else:
        assert oci.put(f"{location}?digest={sha256(LARGE)}", LARGE[half:]).status == 201
        digest = sha256(LARGE)
    ((name, stored),) = home.stored().items()
    assert MARK[5:15] not in stored
    assert digest.removeprefix("sha256:") not in name
    assert oci.get(f"/v2/app/blobs/{digest}").body == LARGE
    (checked,) = api.batch_check_layer_availability(repositoryName="app", layerDigests=[digest])["layers"]
    assert checked["layerSize"] == len(LARGE)


def test_without_keys_encryption_is_recorded_only(home: Home, ecr_registry: Any) -> None:
    with home.serve(None) as server:
        api, oci = connect(server.url), OciClient(server.address)
        create(api, encryption="KMS_DSSE")
        (described,) = api.describe_repositories()["repositories"]
        assert described["encryptionConfiguration"] == ENCRYPTIONS["KMS_DSSE"]
        oci.push_blob("app", LARGE)
        assert list(home.stored().values()) == [LARGE]


def test_the_same_bytes_are_stored_once_for_each_key(encrypting: Any) -> None:
    home, server = encrypting
    api, oci = connect(server.url), OciClient(server.address)
    other = connect(server.url, OTHER)
    for number, (encryption, client) in enumerate((each, api) for each in ENCRYPTIONS):
        create(client, f"app{number}", encryption)
        create(client, f"again{number}", encryption)
        assert oci.push_blob(f"app{number}", LARGE) == oci.push_blob(f"again{number}", LARGE)
        assert len(home.stored()) == number + 1
    create(other, "app")
    OciClient(server.address, Host=f"{OTHER}.dkr.ecr.us-east-1.localhost").push_blob("app", LARGE)
    assert len(home.stored()) == len(ENCRYPTIONS)
    assert len(set(home.stored().values())) == len(ENCRYPTIONS)


# ---------------------------------------------------------------------------------------- what is read


@pytest.mark.parametrize("encryption", ["AES256", "KMS_DSSE"])
def test_parts_can_be_read_as_of_any_blob(encrypting: Any, encryption: str) -> None:
    _, server = encrypting
    api, oci = connect(server.url), OciClient(server.address)
    create(api, encryption=encryption)
    blob = f"/v2/app/blobs/{oci.push_blob('app', CONTENT)}"
    for asked, first, last in RANGES.values():
        answer = oci.get(blob, {"Range": asked})
        assert (answer.status, answer.body) == (206, CONTENT[first : last + 1]), asked
        assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{len(CONTENT)}"
        assert answer.headers["Content-Length"] == str(last - first + 1)
        assert answer.headers["Docker-Content-Digest"] == sha256(CONTENT)
        assert answer.headers["Docker-Distribution-API-Version"] == "registry/2.0"
    for asked in ("bytes=1000-", "bytes=1000-1001", "bytes=5-2", "bytes=x"):
        answer = oci.get(blob, {"Range": asked})
        assert (answer.status, answer.headers["Content-Range"]) == (416, f"bytes */{len(CONTENT)}")
    head = oci.head(blob)
    assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", str(len(CONTENT)))
    assert head.headers["Accept-Ranges"] == "bytes"
    assert head.headers["Docker-Distribution-API-Version"] == "registry/2.0"
    assert oci.head(blob, {"Range": "bytes=0-9"}).headers["Content-Length"] == "10"
    assert oci.get(blob, {"Range": "bytes=0-9", "If-Range": '"x"'}).status == 200
    # Over the borders of chunks.
    large = f"/v2/app/blobs/{oci.push_blob('app', LARGE)}"
    for first, last in ((65_535, 65_536), (1, 200_000), (65_536, 131_071), (400_000, len(LARGE) - 1)):
        assert oci.get(large, {"Range": f"bytes={first}-{last}"}).body == LARGE[first : last + 1]


def test_a_download_url_gives_the_layer_and_parts_of_it(encrypting: Any) -> None:
    _, server = encrypting
    api = connect(server.url)
    create(api, encryption="KMS")
    put_image(api, "app", "v1", seed="s")
    url = api.get_download_url_for_layer(repositoryName="app", layerDigest=sha256(b"layer s"))["downloadUrl"]
    assert download(url) == (200, b"layer s")
    assert download(url, Range="bytes=2-4") == (206, b"yer")


def test_an_empty_layer_and_one_by_sha512_are_encrypted_too(encrypting: Any) -> None:
    home, server = encrypting
    create(connect(server.url))
    oci = OciClient(server.address)
    for content, digest in ((b"", sha256(b"")), (LARGE, sha512(LARGE))):
        assert oci.post(f"/v2/app/blobs/uploads/?digest={digest}", content).status == 201
        assert oci.get(f"/v2/app/blobs/{digest}").body == content
        assert oci.get(f"/v2/app/blobs/{digest}", {"Range": "bytes=0-"}).status == (206 if content else 416)
    assert all(stored.startswith(b"ECRBLOB\x01") for stored in home.stored().values())


def test_an_image_is_scanned(encrypting: Any) -> None:
    _, server = encrypting
    api = connect(server.url)
    create(api, encryption="KMS")
    push_layers(api, layer(DEBIAN))
    api.start_image_scan(repositoryName="app", imageId={"imageTag": "v1"})
    server.manage("run/scans", {})
    found = api.describe_image_scan_findings(repositoryName="app", imageId={"imageTag": "v1"})
    assert found["imageScanStatus"]["status"] == "COMPLETE"
    assert found["imageScanFindings"]["findings"]


# ------------------------------------------------------------------------------- into other repositories


def test_a_replica_is_encrypted_with_the_key_of_its_repository(encrypting: Any) -> None:
    home, server = encrypting
    source, west = Registry(server, ACCOUNT, "us-east-1"), Registry(server, ACCOUNT, "us-west-2")
    create(source.api, encryption="KMS")
    west.api.create_repository_creation_template(
        prefix="ROOT",
        appliedFor=["REPLICATION"],
        encryptionConfiguration={"encryptionType": "KMS_DSSE"},
        customRoleArn=f"arn:aws:iam::{ACCOUNT}:role/ecr",
    )
    source.replicate_to(west)
    put_image(source.api, "app", "v1", seed="one")
    put_image(source.api, "app", "v2", seed="one", annotations={"of": "the same layers"})
    assert len(home.stored()) == 2
    run(server)
    for tag in ("v1", "v2"):
        assert source.status("app", imageTag=tag) == {f"{ACCOUNT}/us-west-2": ("COMPLETE", None)}
        west.pull_by_host("app", tag)
    assert len(home.stored()) == 4
    # With the same key no bytes are copied.
    again = Registry(server, OTHER, "us-east-1")
    create(again.api, "plain")
    put_image(again.api, "plain", "v1", seed="two")
    again.replicate_to(Registry(server, OTHER, "us-west-2"))
    put_image(again.api, "plain", "v2", seed="two", annotations={"x": "y"})
    stored = home.stored()
    run(server)
    Registry(server, OTHER, "us-west-2").pull_by_host("plain", "v2")
    assert home.stored() == stored


def test_what_is_pulled_through_is_encrypted_with_the_key_of_its_repository(encrypting: Any) -> None:
    home, server = encrypting
    api, west = connect(server.url), connect(server.url, ACCOUNT, "us-west-2")
    create(api, "team/app", "KMS")
    put_image(api, "team/app", "v1", seed="up")
    west.create_pull_through_cache_rule(
        ecrRepositoryPrefix="cached", upstreamRegistryUrl=f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com"
    )
    oci = OciClient(server.address, Host=f"{ACCOUNT}.dkr.ecr.us-west-2.amazonaws.com")
    assert oci.get("/v2/cached/team/app/manifests/v1").status == 200
    for blob in (b"config up", b"layer up"):
        assert oci.get(f"/v2/cached/team/app/blobs/{sha256(blob)}").body == blob
    stored = home.stored()
    assert len(stored) == 4
    assert not any(blob in content for blob in (b"config up", b"layer up") for content in stored.values())


# ------------------------------------------------------------------------------ other keys, and no keys


@pytest.mark.parametrize("encryption", ENCRYPTIONS)
def test_with_another_key_nothing_can_be_read_until_the_right_one_is_back(
    home: Home, ecr_registry: Any, encryption: str
) -> None:
    key = {"AES256": "AES256", "the default KMS key": DEFAULT_KEY}.get(encryption, KMS_KEY)
    with home.serve(KEYS) as server:
        api, oci = connect(server.url), OciClient(server.address)
        create(api, encryption=encryption)
        image = oci.push_image("app", "v1")
        location = oci.begin_upload("app")
        oci.patch(location, LARGE[:100_001])
    upload = location.rpartition("/")[2]
    blob = f"/v2/app/blobs/{sha256(image.blobs[1])}"
    stored = home.stored()

    others = {name: secrets.token_hex(32) for name in KEYS}
    code = "IncorrectKeyException"
    text = f"The key '{key}' is not the one that this is encrypted with"
    with home.serve(others) as server:
        api, oci = connect(server.url), OciClient(server.address)
        for answer in (oci.get(blob), oci.get(blob, {"Range": "bytes=0-1"}), oci.patch(location, b"more")):
            assert answer.error == (403, "DENIED")
            assert answer.message == text
        assert oci.head(blob).status == 403
        assert oci.put(f"{location}?digest={sha256(LARGE)}", b"").error == (403, "DENIED")
        url = api.get_download_url_for_layer(repositoryName="app", layerDigest=sha256(image.blobs[1]))
        status, body = download(url["downloadUrl"])
        assert (status, b"<Code>AccessDenied</Code>" in body) == (403, True)
        given = {"repositoryName": "app", "uploadId": upload}
        part = {"partFirstByte": 100_001, "partLastByte": 100_004, "layerPartBlob": b"more"}
        assert failure(api.upload_layer_part, **given, **part) == ("KmsException", code, text)
        digests = {"layerDigests": [sha256(LARGE)]}
        assert failure(api.complete_layer_upload, **given, **digests) == ("KmsException", code, text)
        # Nothing is harmed, and what comes in now is encrypted with the key that there is.
        assert home.stored() == stored
        new = oci.push_blob("app", b"new")
        assert oci.get(f"/v2/app/blobs/{new}").body == b"new"
        # A layer that can't be read can be pushed again.
        assert oci.push_blob("app", image.blobs[0]) == sha256(image.blobs[0])
        assert oci.get(f"/v2/app/blobs/{sha256(image.blobs[0])}").body == image.blobs[0]

    with home.serve(KEYS) as server:
        api, oci = connect(server.url), OciClient(server.address)
        assert oci.get(blob).body == image.blobs[1]
        rest = LARGE[100_001:]
        assert oci.patch(location, rest, chunk_range(100_001, rest)).status == 202
        assert oci.put(f"{location}?digest={sha256(LARGE)}").status == 201
        assert oci.get(f"/v2/app/blobs/{sha256(LARGE)}").body == LARGE
        assert oci.get(f"/v2/app/blobs/{new}").error == (403, "DENIED")


def test_without_its_key_a_repository_is_of_no_use(home: Home, ecr_registry: Any) -> None:
    with home.serve(KEYS) as server:
        api, oci = connect(server.url), OciClient(server.address)
        create(api, encryption="KMS")
        image = oci.push_image("app", "v1")
        loose = oci.push_blob("app", b"loose")
        upload = api.initiate_layer_upload(repositoryName="app")["uploadId"]
        api.upload_layer_part(
            repositoryName="app", uploadId=upload, partFirstByte=0, partLastByte=3, layerPartBlob=b"part"
        )
    given = {"repositoryName": "app"}
    missing = ("KmsException", "NotFoundException", f"Key '{KMS_KEY}' does not exist")
    with home.serve({"AES256": KEYS["AES256"]}) as server:
        api, oci = connect(server.url), OciClient(server.address)
        part = {"partFirstByte": 4, "partLastByte": 7, "layerPartBlob": b"more"}
        manifest = image_manifest(b"loose", b"loose").decode()
        # The operations for which the API's model has this error.
        for operation, members in (
            (api.initiate_layer_upload, given),
            (api.upload_layer_part, {**given, "uploadId": upload, **part}),
            (api.complete_layer_upload, {**given, "uploadId": upload, "layerDigests": [sha256(b"part")]}),
            (api.put_image, {**given, "imageManifest": manifest}),
            (api.delete_repository, {**given, "force": True}),
            (
                api.create_repository,
                {"repositoryName": "second", "encryptionConfiguration": ENCRYPTIONS["KMS"]},
            ),
        ):
            assert failure(operation, **members) == missing, operation
        found = api.batch_get_image(**given, imageIds=[{"imageTag": "v1"}, {"imageTag": "absent"}])
        assert found["images"] == []
        assert sorted(each["failureCode"] for each in found["failures"]) == ["ImageNotFound", "KmsError"]
        for method, path in (
            ("GET", "manifests/v1"),
            ("PUT", "manifests/v1"),
            ("GET", f"blobs/{sha256(image.blobs[0])}"),
            ("POST", "blobs/uploads/"),
            ("POST", f"blobs/uploads/?digest={loose}"),
            ("PATCH", f"blobs/uploads/{upload}"),
        ):
            body = image.manifest if method == "PUT" else None
            answer = oci.request(
                method,
                f"/v2/app/{path}",
                body,
                {"Content-Type": "application/vnd.oci.image.manifest.v1+json"},
            )
            assert answer.error == (403, "DENIED"), (method, path)
            assert answer.message == missing[2]
        # What the metadata tell is told.
        assert api.describe_images(**given)["imageDetails"][0]["imageTags"] == ["v1"]
        assert oci.get("/v2/app/tags/list").json()["tags"] == ["v1"]
    with home.serve(None) as server:
        assert OciClient(server.address).get(f"/v2/app/blobs/{loose}").error == (403, "DENIED")
    with home.serve(KEYS) as server:
        api, oci = connect(server.url), OciClient(server.address)
        assert oci.get(f"/v2/app/blobs/{loose}").body == b"loose"
        api.delete_repository(**given, force=True)


def test_a_template_with_a_key_that_is_missing_creates_nothing(encrypting: Any) -> None:
    _, server = encrypting
    api = connect(server.url)
    arn, role = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/absent", f"arn:aws:iam::{ACCOUNT}:role/ecr"
    api.create_repository_creation_template(
        prefix="new",
        appliedFor=["CREATE_ON_PUSH"],
        encryptionConfiguration={"encryptionType": "KMS", "kmsKey": arn},
        customRoleArn=role,
    )
    wanted = ("KmsException", "NotFoundException", f"Key '{arn}' does not exist")
    assert failure(api.initiate_layer_upload, repositoryName="new/app") == wanted
    assert OciClient(server.address).post("/v2/new/app/blobs/uploads/").error == (403, "DENIED")
    assert api.describe_repositories()["repositories"] == []


def test_what_is_from_before_there_were_keys_is_read_but_not_mounted(home: Home, ecr_registry: Any) -> None:
    with home.serve(None) as server:
        api, oci = connect(server.url), OciClient(server.address)
        create(api)
        old = oci.push_blob("app", LARGE)
        location = oci.begin_upload("app")
        oci.patch(location, LARGE[:1000])
    with home.serve(KEYS) as server:
        api, oci = connect(server.url), OciClient(server.address)
        api.put_account_setting(name="BLOB_MOUNTING", value="ENABLED")
        create(api, "second")
        assert oci.get(f"/v2/app/blobs/{old}").body == LARGE
        assert oci.post(f"/v2/second/blobs/uploads/?mount={old}&from=app").status == 202
        # An upload ends as it was begun.
        assert oci.put(f"{location}?digest={sha256(LARGE)}", LARGE[1000:]).status == 201
        new = oci.push_blob("second", LARGE)
        assert oci.post(f"/v2/second/blobs/uploads/?mount={new}&from=second").status == 201
        assert LARGE in home.stored().values()
        # Pushed again, it is encrypted, and the old blob is garbage.
        oci.push_blob("app", LARGE)
        server.manage("run/garbage", {})
        (stored,) = home.stored().values()
        assert MARK not in stored
        assert oci.get(f"/v2/app/blobs/{old}").body == LARGE


def test_a_stored_blob_that_was_changed_is_never_given_out(encrypting: Any) -> None:
    home, server = encrypting
    create(connect(server.url))
    oci = OciClient(server.address)
    content = LARGE * 8
    blob = f"/v2/app/blobs/{oci.push_blob('app', content)}"
    (name,) = home.stored()
    file = home.folder / name
    original = file.read_bytes()
    changed = bytearray(original)
    changed[3_000_000] ^= 1
    file.write_bytes(changed)
    # What is before the change is still right.
    assert oci.get(blob, {"Range": "bytes=0-65535"}).body == content[:65_536]
    assert oci.get(blob, {"Range": "bytes=2999000-3001000"}).error == (500, "UNKNOWN")
    with contextlib.closing(http.client.HTTPConnection(server.address, timeout=30)) as connection:
        connection.request("GET", blob)
        response = connection.getresponse()
        received = bytearray()
        with contextlib.suppress(http.client.IncompleteRead, ConnectionError):
            while chunk := response.read1(1 << 16):
                received += chunk
    assert 0 < len(received) < 3_000_000
    assert content.startswith(received)
    file.write_bytes(original[:-1])
    assert oci.get(blob).error == (500, "UNKNOWN")
    file.write_bytes(original)
    assert oci.get(blob).body == content


def test_a_file_of_keys_that_is_none_keeps_the_server_from_starting(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    file.write_text('AES256 = "short"\n')
    settings = Settings(data_dir=str(tmp_path / "data"), port=0, encryption_keys=str(file))
    with pytest.raises(StartError, match="32 bytes, in base64 or hex, for AES256"):
        BackgroundServer(settings).start()
    assert not (tmp_path / "data" / "metadata.sqlite").exists()
