"""Terraform's AWS provider, run by OpenTofu: what it creates is so, and it finds it as it left it."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.clients.conftest import Client, find_tool
from tests.serving import Server, api_of

# Of which nobody else changes what a registry has one of.
ACCOUNT = "444455556666"

LIFECYCLE_POLICY = {
    "rules": [
        {
            "rulePriority": 1,
            "description": "Expire what has no tag",
            "selection": {
                "tagStatus": "untagged",
                "countType": "sinceImagePushed",
                "countUnit": "days",
                "countNumber": 14,
            },
            "action": {"type": "expire"},
        },
        {
            "rulePriority": 2,
            "selection": {
                "tagStatus": "tagged",
                "tagPrefixList": ["dev", "test"],
                "countType": "imageCountMoreThan",
                "countNumber": 5,
            },
            "action": {"type": "expire"},
        },
    ]
}
REPOSITORY_POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Sid": "Pull",
            "Effect": "Allow",
            "Principal": {"AWS": "arn:aws:iam::111122223333:root"},
            "Action": ["ecr:GetDownloadUrlForLayer", "ecr:BatchGetImage"],
        }
    ],
}
REGISTRY_POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Sid": "Replicate",
            "Effect": "Allow",
            "Principal": {"AWS": "arn:aws:iam::111122223333:root"},
            "Action": ["ecr:CreateRepository", "ecr:ReplicateImage"],
            "Resource": [f"arn:aws:ecr:us-east-1:{ACCOUNT}:repository/*"],
        }
    ],
}


def description(server: Server) -> dict[str, Any]:
    """Return a configuration with each resource that the provider has of a registry."""
    shop = "${aws_ecr_repository.shop.name}"
    return {
        "terraform": {"required_providers": {"aws": {"source": "hashicorp/aws"}}},
        "provider": {
            "aws": {
                "region": "us-east-1",
                "access_key": ACCOUNT,
                "secret_key": "test",
                "skip_metadata_api_check": True,
                "skip_get_ec2_platforms": True,
                "endpoints": {"ecr": server.url, "sts": server.url},
                "default_tags": {"tags": {"team": "shop"}},
            }
        },
        "resource": {
            "aws_ecr_repository": {
                "shop": {
                    "name": "shop/cart",
                    "image_tag_mutability": "IMMUTABLE",
                    "image_scanning_configuration": {"scan_on_push": True},
                    "tags": {"app": "cart"},
                },
                "kms": {
                    "name": "shop/vault",
                    "encryption_configuration": {
                        "encryption_type": "KMS",
                        "kms_key": f"arn:aws:kms:us-east-1:{ACCOUNT}:alias/vault",
                    },
                },
            },
            "aws_ecr_lifecycle_policy": {
                "shop": {"repository": shop, "policy": json.dumps(LIFECYCLE_POLICY)}
            },
            "aws_ecr_repository_policy": {
                "shop": {"repository": shop, "policy": json.dumps(REPOSITORY_POLICY)}
            },
            "aws_ecr_registry_policy": {"this": {"policy": json.dumps(REGISTRY_POLICY)}},
            "aws_ecr_replication_configuration": {
                "this": {
                    "replication_configuration": {
                        "rule": {"destination": [{"region": "eu-west-1", "registry_id": ACCOUNT}]}
                    }
                }
            },
        },
        "data": {
            "aws_ecr_repository": {"shop": {"name": shop}},
            "aws_ecr_authorization_token": {"this": {}},
        },
        "output": {
            "url": {"value": "${data.aws_ecr_repository.shop.repository_url}"},
            "endpoint": {"value": "${data.aws_ecr_authorization_token.this.proxy_endpoint}"},
        },
    }


class Terraform(Client):
    """OpenTofu in a folder of its own, with the provider that was built."""

    def write(self, configuration: dict[str, Any]) -> None:
        Path(self.env["HOME"], "main.tf.json").write_text(json.dumps(configuration))

    def apply(self, configuration: dict[str, Any]) -> None:
        self.write(configuration)
        self.run("apply", "-auto-approve", "-no-color")

    def finds_no_difference(self) -> None:
        # Ends with 2 where there is one.
        self.run("plan", "-detailed-exitcode", "-no-color")

    def output(self, name: str) -> str:
        return self.run("output", "-raw", name)


@pytest.fixture
def api(server: Server) -> Any:
    return api_of(server, ACCOUNT)


@pytest.fixture
def terraform(server: Server, tmp_path: Path) -> Iterator[Terraform]:
    (tmp_path / "tofurc").write_text(
        "provider_installation {\n  dev_overrides {\n    "
        f'"hashicorp/aws" = "{Path(find_tool("terraform-provider-aws")).parent}"\n  }}\n}}\n'
    )
    client = Terraform(
        find_tool("tofu"),
        home=tmp_path,
        env={"TF_CLI_CONFIG_FILE": str(tmp_path / "tofurc"), "CHECKPOINT_DISABLE": "1"},
    )
    client.write(description(server))
    yield client
    client.run("destroy", "-auto-approve", "-no-color")


def test_what_is_described_is_there(terraform: Terraform, server: Server, api: Any) -> None:
    terraform.apply(description(server))
    terraform.finds_no_difference()
    shop, vault = api.describe_repositories(repositoryNames=["shop/cart", "shop/vault"])["repositories"]
    assert shop["imageTagMutability"] == "IMMUTABLE"
    assert shop["imageScanningConfiguration"] == {"scanOnPush": True}
    assert vault["encryptionConfiguration"]["encryptionType"] == "KMS"
    assert terraform.output("url") == shop["repositoryUri"]
    assert terraform.output("endpoint") == server.url
    tags = api.list_tags_for_resource(resourceArn=shop["repositoryArn"])["tags"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == {"team": "shop", "app": "cart"}
    policy = api.get_lifecycle_policy(repositoryName="shop/cart")["lifecyclePolicyText"]
    assert json.loads(policy) == LIFECYCLE_POLICY
    assert (
        json.loads(api.get_repository_policy(repositoryName="shop/cart")["policyText"]) == REPOSITORY_POLICY
    )
    assert json.loads(api.get_registry_policy()["policyText"]) == REGISTRY_POLICY
    (rule,) = api.describe_registry()["replicationConfiguration"]["rules"]
    assert rule["destinations"] == [{"region": "eu-west-1", "registryId": ACCOUNT}]


def test_what_is_changed_is_so(terraform: Terraform, server: Server, api: Any) -> None:
    before = description(server)
    terraform.apply(before)
    after = copy.deepcopy(before)
    resources = after["resource"]
    resources["aws_ecr_repository"]["shop"] |= {
        "image_tag_mutability": "MUTABLE",
        "image_scanning_configuration": {"scan_on_push": False},
        "tags": {"app": "basket"},
    }
    del resources["aws_ecr_repository_policy"]
    shorter = {"rules": LIFECYCLE_POLICY["rules"][:1]}
    resources["aws_ecr_lifecycle_policy"]["shop"]["policy"] = json.dumps(shorter)
    destinations = resources["aws_ecr_replication_configuration"]["this"]["replication_configuration"]["rule"]
    destinations["destination"].append({"region": "us-west-2", "registry_id": ACCOUNT})
    terraform.apply(after)
    terraform.finds_no_difference()
    (shop,) = api.describe_repositories(repositoryNames=["shop/cart"])["repositories"]
    assert shop["imageTagMutability"] == "MUTABLE"
    assert shop["imageScanningConfiguration"] == {"scanOnPush": False}
    tags = api.list_tags_for_resource(resourceArn=shop["repositoryArn"])["tags"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == {"team": "shop", "app": "basket"}
    policy = api.get_lifecycle_policy(repositoryName="shop/cart")["lifecyclePolicyText"]
    assert json.loads(policy) == shorter
    with pytest.raises(ClientError, match="RepositoryPolicyNotFoundException"):
        api.get_repository_policy(repositoryName="shop/cart")
    (rule,) = api.describe_registry()["replicationConfiguration"]["rules"]
    assert [each["region"] for each in rule["destinations"]] == ["eu-west-1", "us-west-2"]


def test_what_somebody_else_changes_is_noticed_and_put_back(
    terraform: Terraform, server: Server, api: Any
) -> None:
    terraform.apply(description(server))
    api.put_image_tag_mutability(repositoryName="shop/cart", imageTagMutability="MUTABLE")
    api.delete_lifecycle_policy(repositoryName="shop/cart")
    api.delete_repository(repositoryName="shop/vault")
    assert "1 to change" in terraform.fail("plan", "-detailed-exitcode", "-no-color")
    terraform.apply(description(server))
    terraform.finds_no_difference()
    names = {each["repositoryName"] for each in api.describe_repositories()["repositories"]}
    assert names == {"shop/cart", "shop/vault"}
    assert api.get_lifecycle_policy(repositoryName="shop/cart")["lifecyclePolicyText"]


def test_what_was_there_before_is_taken_over(terraform: Terraform, server: Server, api: Any) -> None:
    terraform.apply(description(server))
    for resource, name in (
        ("aws_ecr_repository.shop", "shop/cart"),
        ("aws_ecr_lifecycle_policy.shop", "shop/cart"),
        ("aws_ecr_repository_policy.shop", "shop/cart"),
        ("aws_ecr_registry_policy.this", ACCOUNT),
        ("aws_ecr_replication_configuration.this", ACCOUNT),
    ):
        terraform.run("state", "rm", resource)
        terraform.run("import", "-no-color", resource, name)
    terraform.finds_no_difference()


def test_an_image_that_was_pushed_is_found_and_goes_with_its_repository(
    terraform: Terraform, server: Server, api: Any, make_client: Any, new_layout: Any
) -> None:
    configuration = description(server)
    token = "${data.aws_ecr_authorization_token.this.password}"
    configuration["output"]["password"] = {"value": token, "sensitive": True}
    terraform.apply(configuration)
    folder, digest = new_layout("of terraform")
    crane = make_client("crane")
    crane.run("auth", "login", "-u", "AWS", "-p", terraform.output("password"), server.registry)
    ref = f"{terraform.output('url')}:v1"
    crane.run("push", folder, ref)
    configuration["data"]["aws_ecr_image"] = {
        "v1": {"repository_name": "${aws_ecr_repository.shop.name}", "image_tag": "v1"}
    }
    configuration["output"]["digest"] = {"value": "${data.aws_ecr_image.v1.image_digest}"}
    terraform.apply(configuration)
    assert terraform.output("digest") == digest
    # This version of the provider has no force_delete, and always does.
    terraform.run("destroy", "-auto-approve", "-no-color")
    assert "NAME_UNKNOWN" in crane.fail("digest", ref)
