"""Scopes: a registry is an account's in a region, and knows nothing of the others."""

import json
import urllib.request

import pytest

from .conftest import connect, image_manifest, put_image, refused, sha256

DEFAULT = "000000000000"
ACCOUNT = "123456789012"


@pytest.fixture
def client_of(server):
    """Make clients of an account and a region."""
    return lambda access_key=ACCOUNT, region="us-east-1": connect(server.url, access_key, region)


def names(client, **members):
    described = client.describe_repositories(**members)["repositories"]
    return [repository["repositoryName"] for repository in described]


@pytest.mark.parametrize(
    ("access_key", "account"),
    [
        (ACCOUNT, ACCOUNT),
        ("testing", DEFAULT),
        ("AKIAIOSFODNN7EXAMPLE", DEFAULT),
        ("12345678901", DEFAULT),
        ("1234567890123", DEFAULT),
    ],
)
def test_an_access_key_of_twelve_digits_is_the_account(client_of, access_key, account):
    created = client_of(access_key).create_repository(repositoryName="app")["repository"]
    assert created["registryId"] == account
    assert created["repositoryArn"] == f"arn:aws:ecr:us-east-1:{account}:repository/app"


@pytest.mark.parametrize(
    ("region", "partition"),
    [
        ("us-east-1", "aws"),
        ("eu-central-2", "aws"),
        ("cn-north-1", "aws-cn"),
        ("us-gov-west-1", "aws-us-gov"),
        ("us-iso-east-1", "aws-iso"),
        ("us-isob-east-1", "aws-iso-b"),
    ],
)
def test_the_region_is_the_signatures(client_of, region, partition):
    client = client_of(region=region)
    arn = client.create_repository(repositoryName="app")["repository"]["repositoryArn"]
    assert arn == f"arn:{partition}:ecr:{region}:{ACCOUNT}:repository/app"
    client.tag_resource(resourceArn=arn, tags=[{"Key": "team", "Value": "x"}])
    assert client.list_tags_for_resource(resourceArn=arn)["tags"] == [{"Key": "team", "Value": "x"}]


def test_an_unsigned_request_is_of_the_default_registry(server):
    request = urllib.request.Request(
        server.url,
        data=b'{"repositoryName": "app"}',
        headers={"X-Amz-Target": "AmazonEC2ContainerRegistry_V20150921.CreateRepository"},
    )
    with urllib.request.urlopen(request) as response:
        created = json.load(response)["repository"]
    assert created["repositoryArn"] == f"arn:aws:ecr:us-east-1:{DEFAULT}:repository/app"


def test_registries_share_nothing(client_of):
    mine, elsewhere, theirs = client_of(), client_of(region="eu-west-1"), client_of("210987654321")
    digest = put_image_in(mine, "app")
    for other in (elsewhere, theirs):
        assert names(other) == []
        assert refused(other.list_images, repositoryName="app")[0] == "RepositoryNotFoundException"
        other.create_repository(repositoryName="app")
        assert other.list_images(repositoryName="app")["imageIds"] == []
        # Layers with the same bytes are not there before they are uploaded here, too.
        code, _ = refused(
            other.put_image,
            repositoryName="app",
            imageManifest=image_manifest(b"config seed", b"layer seed").decode(),
        )
        assert code == "LayersNotFoundException"
    theirs.delete_repository(repositoryName="app")
    assert mine.list_images(repositoryName="app")["imageIds"] == [{"imageDigest": digest, "imageTag": "v1"}]
    assert names(elsewhere) == ["app"]


def put_image_in(client, repository):
    client.create_repository(repositoryName=repository)
    return put_image(client, repository, "v1")


def test_a_registry_id_leads_to_another_accounts_registry(client_of):
    client, owner = client_of(), client_of("210987654321")
    there = {"registryId": "210987654321", "repositoryName": "app"}
    created = client.create_repository(**there)["repository"]
    assert created["repositoryArn"] == "arn:aws:ecr:us-east-1:210987654321:repository/app"
    assert (names(client), names(owner)) == ([], ["app"])
    assert names(client, registryId="210987654321") == ["app"]
    upload = client.initiate_layer_upload(**there)
    part = {"partFirstByte": 0, "partLastByte": 3, "layerPartBlob": b"blob"}
    client.upload_layer_part(**there, uploadId=upload["uploadId"], **part)
    blob = sha256(b"blob")
    client.complete_layer_upload(**there, uploadId=upload["uploadId"], layerDigests=[blob])
    manifest = image_manifest(b"blob", b"blob").decode()
    image = client.put_image(**there, imageManifest=manifest, imageTag="v1")["image"]
    assert image["registryId"] == "210987654321"
    ids = [image["imageId"]]
    assert (
        client.list_images(**there)["imageIds"] == ids == owner.list_images(repositoryName="app")["imageIds"]
    )
    assert client.batch_get_image(**there, imageIds=ids)["images"] == [image]
    assert client.describe_images(**there)["imageDetails"][0]["registryId"] == "210987654321"
    layers = client.batch_check_layer_availability(**there, layerDigests=[blob])["layers"]
    assert layers[0]["layerAvailability"] == "AVAILABLE"
    url = client.get_download_url_for_layer(**there, layerDigest=blob)["downloadUrl"]
    with urllib.request.urlopen(url) as response:
        assert response.read() == b"blob"
    mutability = client.put_image_tag_mutability(**there, imageTagMutability="IMMUTABLE")
    assert mutability["registryId"] == "210987654321"
    assert client.batch_delete_image(**there, imageIds=ids)["imageIds"] == ids
    client.delete_repository(**there)
    assert names(owner) == []


def test_resources_are_of_the_callers_region(client_of):
    client = client_of()
    arn = client.create_repository(repositoryName="app")["repository"]["repositoryArn"]
    elsewhere = client_of(region="eu-west-1")
    assert refused(elsewhere.list_tags_for_resource, resourceArn=arn) == (
        "InvalidParameterException",
        "Invalid parameter at 'resourceArn' failed to satisfy constraint: 'Invalid ARN'",
    )
