"""Scopes: which registry a signature or a host name means, and the names that URIs give."""

import pytest

from ecr_emulator.core.identities import AccessKey
from ecr_emulator.core.registry import Registry
from ecr_emulator.identity.endpoints import public_endpoint
from ecr_emulator.identity.scope import caller_of_signature, registry_of_host
from ecr_emulator.settings import Settings

DEFAULT = Registry("000000000000", "us-east-1")


def signature(key, region):
    credential = f"{key}/20300101/{region}/ecr/aws4_request"
    return f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host, Signature=0"


@pytest.mark.parametrize(
    ("authorization", "registry"),
    [
        (signature("AKIAIOSFODNN7EXAMPLE", "eu-west-1"), Registry("000000000000", "eu-west-1")),
        (signature("111122223333", "us-east-2"), Registry("111122223333", "us-east-2")),
        (signature("1111222233334", "us-east-2"), Registry("000000000000", "us-east-2")),
        ("", DEFAULT),
        ("Basic QVdTOng=", DEFAULT),
        (signature("x", "EU"), DEFAULT),
    ],
)
def test_a_signature_names_region_and_account(authorization, registry):
    caller = caller_of_signature(authorization, Settings(), {})
    assert (caller.registry, caller.arn) == (registry, registry.root_arn)


@pytest.mark.parametrize("key", ["AKIAIOSFODNN7EXAMPLE", "444455556666"])
def test_a_known_access_key_names_its_principal_and_that_its_account(key):
    arn = "arn:aws:sts::111122223333:assumed-role/scanner/nightly"
    caller = caller_of_signature(signature(key, "eu-west-1"), Settings(), {key: AccessKey(arn)})
    assert (caller.arn, caller.registry) == (arn, Registry("111122223333", "eu-west-1"))
    stranger = caller_of_signature(signature("other", "eu-west-1"), Settings(), {key: AccessKey(arn)})
    assert stranger.arn == "arn:aws:iam::000000000000:root"


@pytest.mark.parametrize(
    ("host", "registry"),
    [
        ("111122223333.dkr.ecr.eu-west-1.amazonaws.com", Registry("111122223333", "eu-west-1")),
        ("111122223333.dkr.ecr.eu-west-1.localhost:4510", Registry("111122223333", "eu-west-1")),
        ("111122223333.DKR.ECR.eu-west-1.localhost", Registry("111122223333", "eu-west-1")),
        ("111122223333.dkr.ecr-fips.us-east-1.amazonaws.com", Registry("111122223333", "us-east-1")),
        ("111122223333.dkr-ecr.us-east-1.on.aws", Registry("111122223333", "us-east-1")),
        ("1111.dkr.ecr.eu-west-1.amazonaws.com", None),
        ("111122223333.dkr.ecr.eu-west-1", None),
        ("127.0.0.1:4510", None),
        ("", None),
    ],
)
def test_a_host_name_names_account_and_region(host, registry):
    assert registry_of_host(host) == registry


@pytest.mark.parametrize(
    ("region", "partition"),
    [
        ("us-east-1", "aws"),
        ("cn-north-1", "aws-cn"),
        ("us-gov-west-1", "aws-us-gov"),
        ("us-iso-east-1", "aws-iso"),
        ("us-isob-east-1", "aws-iso-b"),
    ],
)
def test_arns_are_of_the_regions_partition(region, partition):
    registry = Registry("111122223333", region)
    assert registry.repository_arn("a/b") == f"arn:{partition}:ecr:{region}:111122223333:repository/a/b"
    assert registry.root_arn == f"arn:{partition}:iam::111122223333:root"


@pytest.mark.parametrize(
    ("settings", "host_header", "endpoint"),
    [
        ({}, "localhost:4510", "127.0.0.1:7000"),
        ({"host": "::1"}, None, "[::1]:7000"),
        ({"host": "0.0.0.0"}, "ecr:4510", "ecr:4510"),
        ({"host": "0.0.0.0"}, None, "127.0.0.1:7000"),
        ({"public_endpoint": "registry.test"}, "ecr:4510", "registry.test"),
        (
            {"public_endpoint": "{account}.dkr.ecr.{region}.amazonaws.com"},
            None,
            "000000000000.dkr.ecr.us-east-1.amazonaws.com",
        ),
    ],
)
def test_uris_name_what_the_caller_can_reach(settings, host_header, endpoint):
    assert public_endpoint(Settings(**settings), 7000, host_header, DEFAULT) == endpoint
