"""The registry's policy: kept for each registry, and held to the actions of the registry policy scope."""

import json

import pytest

from .conftest import connect, refused

REGISTRY = "000000000000"


def policy(*actions, **elements):
    """Write a policy that lets another account do something."""
    statement = {
        "Sid": "Replication",
        "Effect": "Allow",
        "Principal": {"AWS": "arn:aws:iam::111122223333:root"},
        "Action": actions or ("ecr:CreateRepository", "ecr:ReplicateImage"),
        "Resource": [f"arn:aws:ecr:us-east-1:{REGISTRY}:repository/*"],
        **elements,
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


NOT_FOUND = (
    "RegistryPolicyNotFoundException",
    f"Registry policy does not exist in the registry with id '{REGISTRY}'",
)
INVALID = (
    "InvalidParameterException",
    "Invalid parameter at 'PolicyText' failed to satisfy constraint: 'Invalid registry policy provided'",
)


def test_a_registry_policy_is_kept_replaced_returned_and_removed(ecr):
    for text in (policy(), policy("ecr:PutImage")):
        answer = ecr.put_registry_policy(policyText=text)
        assert (answer["registryId"], answer["policyText"]) == (REGISTRY, text)
        kept = ecr.get_registry_policy()
        assert (kept["registryId"], kept["policyText"]) == (REGISTRY, text)
    removed = ecr.delete_registry_policy()
    assert (removed["registryId"], removed["policyText"]) == (REGISTRY, text)
    assert refused(ecr.get_registry_policy) == NOT_FOUND
    assert refused(ecr.delete_registry_policy) == NOT_FOUND


@pytest.mark.parametrize(
    "text", ["", "policy", policy(Resource="arn:aws:s3:::x"), policy("s3:GetObject"), policy(Resource=[])]
)
def test_a_malformed_registry_policy_is_refused_and_changes_nothing(ecr, text):
    ecr.put_registry_policy(policyText=policy())
    assert refused(ecr.put_registry_policy, policyText=text) == INVALID
    assert ecr.get_registry_policy()["policyText"] == policy()


def test_a_registry_policy_has_a_greatest_length(ecr):
    longest = policy().ljust(10240)
    ecr.put_registry_policy(policyText=longest)
    code, message = refused(ecr.put_registry_policy, policyText=longest + " ")
    assert code == "InvalidParameterException"
    assert "'policyText'" in message


def test_a_registry_policy_is_of_one_account_in_one_region(server, ecr):
    ecr.put_registry_policy(policyText=policy())
    for elsewhere in (connect(server.url, "111122223333"), connect(server.url, region="eu-west-1")):
        with pytest.raises(elsewhere.exceptions.RegistryPolicyNotFoundException):
            elsewhere.get_registry_policy()
    server.manage("reset", {"region": "eu-west-1"})
    assert ecr.get_registry_policy()["policyText"] == policy()
    server.manage("reset", {"account": REGISTRY})
    assert refused(ecr.get_registry_policy) == NOT_FOUND


def test_the_scope_decides_which_actions_a_registry_policy_has(ecr):
    narrow, wide = policy("ecr:ReplicateImage"), policy("ecr:BatchGetImage")
    ecr.put_registry_policy(policyText=wide)
    ecr.put_account_setting(name="REGISTRY_POLICY_SCOPE", value="V1")
    assert refused(ecr.put_registry_policy, policyText=wide) == INVALID
    # A policy that is there stays.
    assert ecr.get_registry_policy()["policyText"] == wide
    ecr.put_registry_policy(policyText=narrow)
    ecr.put_account_setting(name="REGISTRY_POLICY_SCOPE", value="V2")
    ecr.put_registry_policy(policyText=wide)
    assert ecr.get_registry_policy()["policyText"] == wide
