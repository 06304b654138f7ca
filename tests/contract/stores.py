"""Commands on stores, run in this process, and what servers answer over the stores."""

import contextlib
import http.client
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ecr_emulator.cli import main
from ecr_emulator.settings import Settings
from ecr_emulator.testing import BackgroundServer
from tests.contract.conftest import OCI_INDEX, connect, descriptor, image_manifest, put_image, sha256
from tests.contract.oci_client import OciClient, sha512

ACCOUNT, OTHER = "111122223333", "444455556666"
REGIONS = {ACCOUNT: "us-east-1", OTHER: "eu-west-1"}
# Archived images, too.
ANY = {"imageStatus": "ANY"}
# Texts come back as they were written.
POLICY = (
    '{ "Statement": [{"Effect": "Allow", "Principal": {"AWS": "444455556666"},'
    ' "Action": "ecr:BatchGetImage"}] }'
)
LIFECYCLE = json.dumps(
    {
        "rules": [
            {
                "rulePriority": 1,
                "selection": {
                    "tagStatus": "untagged",
                    "countType": "sinceImagePushed",
                    "countUnit": "days",
                    "countNumber": 14,
                },
                "action": {"type": "expire"},
            }
        ]
    }
)


@dataclass(frozen=True)
class Done:
    """A command that was run."""

    status: int
    out: str
    err: str


def run(*arguments: object) -> Done:
    """Run ``ecr-emulator`` in this process."""
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.raises(SystemExit) as exited,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        main([str(argument) for argument in arguments])
    return Done(int(exited.value.code or 0), out.getvalue(), err.getvalue())


@contextlib.contextmanager
def serving(folder: Path, **settings: Any) -> Iterator[BackgroundServer]:
    """Serve a data folder, whose answers do not depend on the port."""
    defaults = {"public_endpoint": "registry.example", "engines": "off"}
    with BackgroundServer(Settings(data_dir=str(folder), port=0, **{**defaults, **settings})) as server:
        yield server


def fill(server: BackgroundServer) -> None:
    """Give two registries something of everything that an export has."""
    ecr = connect(server.url, ACCOUNT, REGIONS[ACCOUNT])
    oci = OciClient(server.address, Authorization=basic(ecr))
    ecr.create_repository(
        repositoryName="shop/cart",
        imageTagMutability="IMMUTABLE_WITH_EXCLUSION",
        imageTagMutabilityExclusionFilters=[{"filterType": "WILDCARD", "filter": "dev-*"}],
        imageScanningConfiguration={"scanOnPush": True},
        encryptionConfiguration={"encryptionType": "KMS"},
        tags=[{"Key": "team", "Value": "shop"}],
    )
    ecr.set_repository_policy(repositoryName="shop/cart", policyText=POLICY)
    ecr.put_lifecycle_policy(repositoryName="shop/cart", lifecyclePolicyText=LIFECYCLE)
    children = [put_image(ecr, "shop/cart", seed=f"child {number}") for number in range(2)]
    server.advance_clock(100)
    manifests = [
        {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": 1}
        for digest in children
    ]
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests})
    for tag in ("v1", "dev-1"):
        ecr.put_image(repositoryName="shop/cart", imageManifest=index, imageTag=tag)
    artifact = image_manifest(
        b"config seed", subject=descriptor(index.encode(), OCI_INDEX), annotations={"ä": "ö"}
    )
    put_image(ecr, "shop/cart", "v2")
    ecr.put_image(repositoryName="shop/cart", imageManifest=artifact.decode())
    # The blobs of this one are those of another repository, too, and its name is below the first one's.
    ecr.create_repository(repositoryName="shop/cart/blobs")
    archived = put_image(ecr, "shop/cart/blobs", "old")
    server.advance_clock(1000)
    ecr.batch_get_image(repositoryName="shop/cart/blobs", imageIds=[{"imageTag": "old"}])
    ecr.update_image_storage_class(
        repositoryName="shop/cart/blobs", imageId={"imageDigest": archived}, targetStorageClass="ARCHIVE"
    )
    ecr.create_repository(repositoryName="empty")
    manifest = image_manifest(b"config seed", b"layer seed", annotations={"hash": "sha512"})
    assert oci.push_manifest("shop/cart", sha512(manifest), manifest).status == 201
    fill_registry(ecr)
    other = connect(server.url, OTHER, REGIONS[OTHER])
    other.create_repository(repositoryName="shop/cart")
    put_image(other, "shop/cart", "v2")
    # A registry that has nothing but a setting.
    connect(server.url, OTHER, "us-west-2").put_account_setting(name="BLOB_MOUNTING", value="ENABLED")


def fill_registry(ecr: Any) -> None:
    """Configure what there is to configure for a registry."""
    ecr.put_account_setting(name="BLOB_MOUNTING", value="ENABLED")
    statement = {
        "Sid": "Replicate",
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{OTHER}:root"},
        "Action": ["ecr:ReplicateImage"],
        "Resource": [f"arn:aws:ecr:us-east-1:{ACCOUNT}:repository/*"],
    }
    ecr.put_registry_policy(policyText=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    ecr.put_replication_configuration(
        replicationConfiguration={
            "rules": [
                {
                    "destinations": [{"region": "eu-west-1", "registryId": OTHER}],
                    "repositoryFilters": [{"filter": "prod/", "filterType": "PREFIX_MATCH"}],
                }
            ]
        }
    )
    ecr.put_registry_scanning_configuration(
        scanType="BASIC",
        rules=[
            {
                "scanFrequency": "SCAN_ON_PUSH",
                "repositoryFilters": [{"filter": "prod/*", "filterType": "WILDCARD"}],
            }
        ],
    )
    ecr.put_signing_configuration(
        signingConfiguration={
            "rules": [
                {
                    "signingProfileArn": f"arn:aws:signer:us-east-1:{ACCOUNT}:/signing-profiles/release",
                    "repositoryFilters": [{"filter": "prod/*", "filterType": "WILDCARD_MATCH"}],
                }
            ]
        }
    )
    ecr.create_repository_creation_template(
        prefix="prod",
        appliedFor=["CREATE_ON_PUSH", "REPLICATION"],
        description="of production",
        imageTagMutability="IMMUTABLE",
        lifecyclePolicy=LIFECYCLE,
        repositoryPolicy=POLICY,
        resourceTags=[{"Key": "stage", "Value": "prod"}],
        customRoleArn=f"arn:aws:iam::{ACCOUNT}:role/templates",
    )
    ecr.create_pull_through_cache_rule(ecrRepositoryPrefix="quay", upstreamRegistryUrl="quay.io")
    ecr.register_pull_time_update_exclusion(principalArn=f"arn:aws:iam::{ACCOUNT}:role/scanner")


def basic(ecr: Any) -> str:
    """Return the header with a registry's authorization token."""
    token = ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
    return f"Basic {token}"


def answers(server: BackgroundServer, account: str, region: str) -> dict[str, Any]:
    """Return what a registry answers to whatever can be asked that changes nothing, but for scans."""
    ecr = connect(server.url, account, region)
    asked: dict[str, Any] = {
        "registry": ecr.describe_registry(),
        "scanning": ecr.get_registry_scanning_configuration(),
        "templates": ecr.describe_repository_creation_templates(),
        "rules": ecr.describe_pull_through_cache_rules(),
        "exclusions": ecr.list_pull_time_update_exclusions(),
        "mounting": ecr.get_account_setting(name="BLOB_MOUNTING"),
        "scope": ecr.get_account_setting(name="REGISTRY_POLICY_SCOPE"),
        "policy": _or_code(ecr, ecr.get_registry_policy),
        "signing": _or_code(ecr, ecr.get_signing_configuration),
        "repositories": ecr.describe_repositories(),
    }
    for repository in asked["repositories"]["repositories"]:
        name = repository["repositoryName"]
        ids = ecr.list_images(repositoryName=name, filter=ANY)["imageIds"]
        asked |= {
            f"{name} tags": ecr.list_tags_for_resource(resourceArn=repository["repositoryArn"]),
            f"{name} policy": _or_code(ecr, ecr.get_repository_policy, repositoryName=name),
            f"{name} lifecycle": _or_code(ecr, ecr.get_lifecycle_policy, repositoryName=name),
            f"{name} ids": ids,
            f"{name} details": [
                {key: value for key, value in details.items() if "Scan" not in key}
                for details in ecr.describe_images(repositoryName=name, filter=ANY)["imageDetails"]
            ],
            f"{name} images": ids and ecr.batch_get_image(repositoryName=name, imageIds=ids),
            f"{name} pulls": pulls(server, basic(ecr), name, ids),
        }
    return {key: _without_metadata(answer) for key, answer in asked.items()}


def _or_code(ecr: Any, operation: Any, **members: Any) -> Any:
    try:
        return operation(**members)
    except ecr.exceptions.ClientError as error:
        return error.response["Error"]["Code"]


def _without_metadata(answer: Any) -> Any:
    return (
        {key: value for key, value in answer.items() if key != "ResponseMetadata"}
        if isinstance(answer, dict)
        else answer
    )


def pulls(
    server: BackgroundServer, authorization: str, name: str, ids: list[dict[str, str]]
) -> dict[str, tuple[int, str]]:
    """Return status and digest of every manifest of a repository, and of every blob that these name."""
    connection = http.client.HTTPConnection(server.address)
    pulled: dict[str, tuple[int, str]] = {}

    def pull(path: str) -> bytes:
        connection.request("GET", f"/v2/{name}/{path}", headers={"Authorization": authorization})
        response = connection.getresponse()
        body = response.read()
        pulled[path] = response.status, sha256(body) if response.status == 200 else ""
        return body

    for image_id in ids:
        body = pull(f"manifests/{image_id['imageDigest']}")
        if pulled[f"manifests/{image_id['imageDigest']}"][0] != 200:
            continue
        manifest = json.loads(body)
        for blob in [manifest["config"], *manifest["layers"]] if "config" in manifest else []:
            pull(f"blobs/{blob['digest']}")
    connection.close()
    return pulled
