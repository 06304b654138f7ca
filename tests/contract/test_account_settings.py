"""Account settings: their values, and what BLOB_MOUNTING lets a push do."""

import pytest

from .conftest import connect, image_manifest, put_image, refused, sha256, upload_layer
from .oci_client import OciClient

LAYER = b"a layer that two repositories have"
DIGEST = sha256(LAYER)
MOUNT = f"/v2/app/blobs/uploads/?mount={DIGEST}&from=base"
KEYS = [f"arn:aws:kms:us-east-1:000000000000:key/{digit * 8}" for digit in "12"]


def setting(client, name):
    answer = client.get_account_setting(name=name)
    assert answer["name"] == name
    return answer["value"]


@pytest.mark.parametrize(
    ("name", "default", "values"),
    [
        ("BASIC_SCAN_TYPE_VERSION", "AWS_NATIVE", ["AWS_NATIVE"]),
        ("BLOB_MOUNTING", "DISABLED", ["ENABLED", "DISABLED"]),
        ("REGISTRY_POLICY_SCOPE", "V2", ["V1", "V2"]),
    ],
)
def test_a_setting_has_a_default_and_takes_its_values(ecr, name, default, values):
    assert setting(ecr, name) == default
    for value in values:
        answer = ecr.put_account_setting(name=name, value=value)
        assert (answer["name"], answer["value"]) == (name, value)
        assert setting(ecr, name) == value
    before = setting(ecr, name)
    for value in ("", "x", values[0].lower(), "CLAIR"):
        assert refused(ecr.put_account_setting, name=name, value=value) == (
            "InvalidParameterException",
            "Invalid parameter at 'value' failed to satisfy constraint: 'Member must satisfy enum value set: "
            f"[{', '.join(sorted(values))}]'",
        )
    assert setting(ecr, name) == before


@pytest.mark.parametrize("name", ["x", "blob_mounting", "registry-policy"])
def test_other_settings_are_refused(ecr, name):
    error = (
        "InvalidParameterException",
        "Invalid parameter at 'name' failed to satisfy constraint: 'Member must satisfy enum value set: "
        "[BASIC_SCAN_TYPE_VERSION, BLOB_MOUNTING, REGISTRY_POLICY_SCOPE]'",
    )
    assert refused(ecr.get_account_setting, name=name) == error
    assert refused(ecr.put_account_setting, name=name, value="ENABLED") == error


def test_a_setting_is_of_one_account_in_one_region(server, ecr):
    ecr.put_account_setting(name="BLOB_MOUNTING", value="ENABLED")
    for elsewhere in (connect(server.url, "111122223333"), connect(server.url, region="eu-west-1")):
        assert setting(elsewhere, "BLOB_MOUNTING") == "DISABLED"


@pytest.fixture
def oci(server):
    return OciClient(server.address)


@pytest.fixture
def mounting(ecr):
    """A registry that mounts blobs, with a layer in one repository and another beside it."""
    ecr.put_account_setting(name="BLOB_MOUNTING", value="ENABLED")
    for name in ("app", "base"):
        ecr.create_repository(repositoryName=name)
    upload_layer(ecr, "base", LAYER)
    return ecr


def availability(client, repository="app"):
    (layer,) = client.batch_check_layer_availability(repositoryName=repository, layerDigests=[DIGEST])[
        "layers"
    ]
    return layer["layerAvailability"], layer.get("layerSize")


def assert_falls_back(oci, client, path, repository="app"):
    """Expect a mount to begin an upload, with which the layer can still be pushed."""
    answer = oci.post(path)
    assert answer.status == 202
    assert availability(client, repository) == ("UNAVAILABLE", None)
    assert oci.put(f"{answer.headers['Location']}?digest={DIGEST}", LAYER).status == 201


@pytest.mark.parametrize("source", ["base", "app"])
def test_a_layer_is_mounted_from_another_repository_or_the_same(oci, mounting, source):
    if source == "app":
        upload_layer(mounting, "app", LAYER)
    answer = oci.post(MOUNT.replace("base", source))
    assert (answer.status, answer.body) == (201, b"")
    assert answer.headers["Location"] == f"/v2/app/blobs/{DIGEST}"
    assert answer.headers["Docker-Content-Digest"] == DIGEST
    assert availability(mounting) == ("AVAILABLE", len(LAYER))
    assert oci.get(answer.headers["Location"]).body == LAYER
    # It is mounted once and for all.
    assert oci.post(MOUNT).status == 201


def test_an_image_of_mounted_layers_outlives_where_they_came_from(oci, mounting):
    layers = [sha256(content) for content in (b"config seed", b"layer seed")]
    put_image(mounting, "base", "v1")
    for digest in layers:
        assert oci.post(f"/v2/app/blobs/uploads/?mount={digest}&from=base").status == 201
    manifest = oci.get("/v2/base/manifests/v1")
    assert oci.push_manifest("app", "v1", manifest.body).status == 201
    mounting.put_account_setting(name="BLOB_MOUNTING", value="DISABLED")
    mounting.delete_repository(repositoryName="base", force=True)
    assert oci.get("/v2/app/manifests/v1").body == manifest.body
    assert [oci.get(f"/v2/app/blobs/{digest}").body for digest in layers] == [b"config seed", b"layer seed"]


def test_nothing_is_mounted_while_the_setting_is_off(oci, mounting):
    mounting.put_account_setting(name="BLOB_MOUNTING", value="DISABLED")
    assert_falls_back(oci, mounting, MOUNT)


@pytest.mark.parametrize(
    "query",
    [
        f"mount={DIGEST}",
        f"mount={DIGEST}&from=",
        f"mount={DIGEST}&from=absent",
        f"mount={DIGEST}&from=../base",
        f"mount={sha256(b'absent')}&from=base",
        "mount=latest&from=base",
        "mount=&from=base",
        "from=base",
    ],
)
def test_a_mount_of_what_is_not_there_falls_back_to_an_upload(oci, mounting, query):
    assert_falls_back(oci, mounting, f"/v2/app/blobs/uploads/?{query}")


def test_a_layer_in_the_archive_is_not_mounted(oci, mounting):
    manifest = image_manifest(LAYER, LAYER)
    mounting.put_image(repositoryName="base", imageManifest=manifest.decode(), imageTag="v1")
    mounting.update_image_storage_class(
        repositoryName="base", imageId={"imageTag": "v1"}, targetStorageClass="ARCHIVE"
    )
    assert_falls_back(oci, mounting, MOUNT)


def test_a_layer_of_the_pull_through_cache_is_not_mounted(oci, mounting):
    mounting.create_pull_through_cache_rule(ecrRepositoryPrefix="base", upstreamRegistryUrl="public.ecr.aws")
    mounting.create_repository(repositoryName="base/cached")
    upload_layer(mounting, "base/cached", LAYER)
    assert_falls_back(oci, mounting, MOUNT.replace("base", "base/cached"))


def test_a_mount_of_what_is_not_there_can_bring_the_blob_along(oci, mounting):
    answer = oci.post(f"/v2/app/blobs/uploads/?mount={DIGEST}&from=absent&digest={DIGEST}", LAYER)
    assert answer.status == 201
    assert availability(mounting) == ("AVAILABLE", len(LAYER))


def test_a_mount_into_a_repository_that_is_not_there_is_refused(oci, mounting):
    answer = oci.post(MOUNT.replace("app", "absent"))
    assert answer.error == (404, "NAME_UNKNOWN")


@pytest.mark.parametrize(
    ("source", "target", "status"),
    [
        ({}, {"encryptionType": "AES256"}, 201),
        ({}, {"encryptionType": "KMS"}, 202),
        ({"encryptionType": "KMS"}, {"encryptionType": "KMS"}, 201),
        ({"encryptionType": "KMS"}, {"encryptionType": "KMS_DSSE"}, 202),
        ({"encryptionType": "KMS", "kmsKey": KEYS[0]}, {"encryptionType": "KMS", "kmsKey": KEYS[0]}, 201),
        ({"encryptionType": "KMS", "kmsKey": KEYS[0]}, {"encryptionType": "KMS", "kmsKey": KEYS[1]}, 202),
        ({"encryptionType": "KMS", "kmsKey": KEYS[0]}, {"encryptionType": "KMS"}, 202),
    ],
)
def test_repositories_that_share_a_layer_have_the_same_encryption(oci, ecr, source, target, status):
    ecr.put_account_setting(name="BLOB_MOUNTING", value="ENABLED")
    for name, encryption in (("base", source), ("app", target)):
        given = {"encryptionConfiguration": encryption} if encryption else {}
        ecr.create_repository(repositoryName=name, **given)
    upload_layer(ecr, "base", LAYER)
    assert oci.post(MOUNT).status == status
    assert availability(ecr)[0] == ("AVAILABLE" if status == 201 else "UNAVAILABLE")


def test_a_layer_of_another_registry_is_not_mounted(server, mounting):
    elsewhere = connect(server.url, "111122223333")
    elsewhere.put_account_setting(name="BLOB_MOUNTING", value="ENABLED")
    elsewhere.create_repository(repositoryName="app")
    oci = OciClient(server.address, Host="111122223333.dkr.ecr.us-east-1.localhost")
    assert_falls_back(oci, elsewhere, MOUNT)
