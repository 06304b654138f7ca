"""Policy texts of repositories and registries: what is accepted, and that all else has ECR's error.

The accepted policies are those of the ECR user guide, "Private repository policy examples" and "Private
registry policy examples", and forms of the IAM user guide's grammar.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecr_emulator.core.errors import InvalidParameterException
from ecr_emulator.core.policies import read_document, validate_registry_policy, validate_repository_policy

ROOT = "arn:aws:iam::111122223333:root"
STATEMENT = {"Effect": "Allow", "Principal": {"AWS": ROOT}, "Action": "ecr:BatchGetImage"}
RESOURCE = "arn:aws:ecr:us-west-2:111122223333:repository/*"
REPLICATION = {
    "Sid": "ReplicationAccessCrossAccount",
    "Effect": "Allow",
    "Principal": {"AWS": ROOT},
    "Action": ["ecr:CreateRepository", "ecr:ReplicateImage"],
    "Resource": [RESOURCE],
}


def policy(*statements: Any, **more: Any) -> str:
    """Write a policy text."""
    return json.dumps({"Version": "2012-10-17", "Statement": statements, **more})


def changed(statement: dict[str, Any], **elements: Any) -> str:
    """Write a policy of a statement with other elements; None takes an element away."""
    merged = {**statement, **elements}
    return policy({name: value for name, value in merged.items() if value is not None})


def assert_refused(validate: Callable[[str], None], kind: str, text: str) -> None:
    """Expect ECR's error for a kind of policy."""
    with pytest.raises(InvalidParameterException) as caught:
        validate(text)
    assert caught.value.message == (
        f"Invalid parameter at 'PolicyText' failed to satisfy constraint: 'Invalid {kind} policy provided'"
    )


@pytest.mark.parametrize(
    "text",
    [
        # Allow one or more users; allow another account; deny all
        changed(
            STATEMENT,
            Sid="AllowPushPull",
            Principal={"AWS": [f"arn:aws:iam::111122223333:user/push-pull-user-{n}" for n in (1, 2)]},
            Action=["ecr:BatchGetImage", "ecr:PutImage", "ecr:UploadLayerPart"],
        ),
        changed(STATEMENT, Sid="AllowAll", Action=["ecr:*"]),
        changed(STATEMENT, Effect="Deny", Principal="*", Action=["ecr:BatchGetImage"]),
        # Restricting access to specific IP addresses
        policy(
            {
                "Sid": "IPAllow",
                "Effect": "Deny",
                "Principal": "*",
                "Action": "ecr:*",
                "Condition": {
                    "NotIpAddress": {"aws:SourceIp": "54.240.143.0/24"},
                    "IpAddress": {"aws:SourceIp": ["54.240.143.0/24", "10.0.0.0/8"]},
                },
            },
            Id="ECRPolicyId1",
        ),
        # Allow an AWS service
        changed(
            STATEMENT,
            Principal={"Service": "codebuild.amazonaws.com"},
            Condition={
                "ArnLike": {"aws:SourceArn": "arn:aws:codebuild:us-east-1:123456789012:project/name"},
                "StringEquals": {"aws:SourceAccount": "123456789012"},
            },
        ),
        # versions
        json.dumps({"Version": "2008-10-17", "Statement": [STATEMENT]}),
        json.dumps({"Statement": [STATEMENT]}),
        # one statement need not stand in a list
        json.dumps({"Statement": STATEMENT}),
        # ECR takes spaces in a Sid and the same Sid twice
        policy({**STATEMENT, "Sid": "new statement"}, {**STATEMENT, "Sid": "new statement"}),
        # actions
        changed(STATEMENT, Action="*"),
        changed(STATEMENT, Action="ECR:batch*"),
        changed(STATEMENT, Action=None, NotAction=["ecr:Delete?epository"]),
        # principals
        changed(STATEMENT, Principal={"AWS": "111122223333"}),
        changed(STATEMENT, Principal={"AWS": "*"}),
        changed(STATEMENT, Principal={"AWS": [ROOT, "444455556666"], "Service": ["ecs.amazonaws.com"]}),
        changed(STATEMENT, Principal={"AWS": "arn:aws-us-gov:iam::111122223333:role/a/b/name+=,.@-_"}),
        changed(STATEMENT, Principal={"AWS": "arn:aws-cn:sts::111122223333:assumed-role/role/session"}),
        changed(STATEMENT, Principal={"AWS": "arn:aws:sts::111122223333:federated-user/name"}),
        changed(STATEMENT, Principal={"Federated": "cognito-identity.amazonaws.com"}),
        changed(STATEMENT, Principal={"Federated": "arn:aws:iam::111122223333:saml-provider/name"}),
        changed(STATEMENT, Principal={"CanonicalUser": "0123456789abcdef" * 4}),
        changed(STATEMENT, Principal=None, NotPrincipal={"AWS": ROOT}, Effect="Deny"),
        # conditions
        changed(STATEMENT, Condition={}),
        changed(STATEMENT, Condition={"Bool": {"aws:SecureTransport": True}}),
        changed(STATEMENT, Condition={"NumericLessThanEquals": {"aws:MultiFactorAuthAge": 3600}}),
        changed(STATEMENT, Condition={"DateGreaterThan": {"aws:CurrentTime": "2026-01-01T00:00:00Z"}}),
        changed(STATEMENT, Condition={"Null": {"aws:TokenIssueTime": "true"}}),
        changed(STATEMENT, Condition={"StringNotEqualsIgnoreCaseIfExists": {"aws:username": "john"}}),
        changed(
            STATEMENT, Condition={"ForAnyValue:StringLike": {"aws:PrincipalOrgPaths": ["o-1/*", "o-2/*"]}}
        ),
    ],
)
def test_repository_policies_that_are_accepted(text: str) -> None:
    """What the guides allow passes."""
    validate_repository_policy(text)


NOT_DOCUMENTS = [
    "",
    "policy",
    "[]",
    "null",
    '"Statement"',
    "[" * 200_000,
    '{"Statement":' * 200_000,
    policy(STATEMENT)[:-1],
    policy(STATEMENT).replace('"Version"', '"Statement": [], "Version"'),
    policy({**STATEMENT, "Condition": {"Bool": {"a:b": float("nan")}}}),
]
BAD_POLICIES = [
    "{}",
    policy(),
    json.dumps({"Version": "2012-10-17"}),
    json.dumps({"Statement": {}}),
    json.dumps({"Statement": None}),
    policy("statement"),
    policy([STATEMENT]),
    policy(STATEMENT, "statement"),
    policy(STATEMENT, Version="2025-01-01"),
    policy(STATEMENT, Version=20121017),
    policy(STATEMENT, Version=["2012-10-17"]),
    policy(STATEMENT, Id=1),
    policy(STATEMENT, Conditions={}),
]
BAD_ELEMENTS: list[dict[str, Any]] = [
    {"Sid": 1},
    {"Comment": "x"},
    {"Effect": None},
    {"Effect": "allow"},
    {"Effect": ["Allow"]},
    {"Action": None},
    {"Action": []},
    {"Action": {}},
    {"Action": [1]},
    {"Action": 1},
    {"Action": ["ecr:PutImage", None]},
    {"Action": "PutImage"},
    {"Action": "ecr:"},
    {"Action": "ecr:Put Image"},
    {"Action": "ecr:PutImage\n"},
    {"Action": "ecr:a:b"},
    {"Action": "s3:GetObject"},
    {"Action": ["ecr:PutImage", "iam:PassRole"]},
    {"NotAction": "ecr:PutImage"},
    {"Action": None, "NotAction": "s3:*"},
    {"Principal": None},
    {"Principal": {}},
    {"Principal": []},
    {"Principal": ["*"]},
    {"Principal": ROOT},
    {"Principal": {"AWS": []}},
    {"Principal": {"AWS": {}}},
    {"Principal": {"AWS": ""}},
    {"Principal": {"AWS": 111122223333}},
    {"Principal": {"AWS": "11112222333"}},
    {"Principal": {"AWS": "1111-2222-3333"}},
    {"Principal": {"AWS": "arn:aws:iam::111122223333:*"}},
    {"Principal": {"AWS": "arn:aws:iam::*:root"}},
    {"Principal": {"AWS": "arn:aws:iam::11112222:root"}},
    {"Principal": {"AWS": "arn:aws:iam::111122223333:user/*"}},
    {"Principal": {"AWS": "arn:aws:iam::111122223333:user/"}},
    {"Principal": {"AWS": "arn:aws:iam::111122223333:group/admins"}},
    {"Principal": {"AWS": "arn:aws:iam:us-east-1:111122223333:root"}},
    {"Principal": {"AWS": "arn:aws:s3:::bucket"}},
    {"Principal": {"AWS": "arn:gcp:iam::111122223333:root"}},
    {"Principal": {"AWS": "AIDACKCEVSQ6C2EXAMPLE"}},
    {"Principal": {"AWS": ROOT + "\n"}},
    {"Principal": {"AWS": [ROOT, "nobody"]}},
    {"Principal": {"Service": "codebuild"}},
    {"Principal": {"Service": "*"}},
    {"Principal": {"Federated": "arn:aws:iam::111122223333:user/name"}},
    {"Principal": {"CanonicalUser": "0123"}},
    {"Principal": {"aws": ROOT}},
    {"Principal": {"AWS": ROOT, "Everyone": "*"}},
    {"NotPrincipal": {"AWS": ROOT}},
    {"Condition": []},
    {"Condition": "StringEquals"},
    {"Condition": {"StringMatches": {"aws:username": "john"}}},
    {"Condition": {"NullIfExists": {"aws:username": "true"}}},
    {"Condition": {"ForAllValues:": {"aws:username": "john"}}},
    {"Condition": {"StringEquals": "john"}},
    {"Condition": {"StringEquals": [{"aws:username": "john"}]}},
    {"Condition": {"StringEquals": {"aws:username": None}}},
    {"Condition": {"StringEquals": {"aws:username": {}}}},
    {"Condition": {"StringEquals": {"aws:username": []}}},
    {"Condition": {"StringEquals": {"aws:username": [["john"]]}}},
    {"Condition": {"StringEquals": {"username": "john"}}},
    {"Condition": {"StringEquals": {":username": "john"}}},
]


@pytest.mark.parametrize("text", NOT_DOCUMENTS + BAD_POLICIES)
def test_refused_repository_policies(text: str) -> None:
    """What is no policy document is refused."""
    assert_refused(validate_repository_policy, "repository", text)


@pytest.mark.parametrize("elements", BAD_ELEMENTS)
def test_refused_statements(elements: dict[str, Any]) -> None:
    """Each element has its form, in both kinds of policy."""
    assert_refused(validate_repository_policy, "repository", changed(STATEMENT, **elements))
    assert_refused(validate_registry_policy, "registry", changed(REPLICATION, **elements))


@pytest.mark.parametrize(
    "elements",
    [
        {"Resource": "*"},
        {"Resource": RESOURCE},
        {"NotResource": RESOURCE},
        {"Action": "ecr:GetAuthorizationToken"},
        {"Action": ["ecr:BatchGetImage", "ecr:getauthorizationtoken"]},
    ],
)
def test_a_repository_policy_is_about_its_repository(elements: dict[str, Any]) -> None:
    """It names no resource, and grants nothing that belongs to no repository."""
    assert_refused(validate_repository_policy, "repository", changed(STATEMENT, **elements))


@pytest.mark.parametrize(
    "text",
    [
        policy(REPLICATION),
        policy(REPLICATION, {**REPLICATION, "Sid": "ReplicationAccessCrossAccount2"}),
        policy(REPLICATION, {**REPLICATION, "Sid": ""}, {**REPLICATION, "Sid": ""}),
        changed(REPLICATION, Resource=RESOURCE.replace("*", "prod-*"), Sid=None),
        changed(REPLICATION, Resource="*", Action="ecr:BatchImportUpstreamImage"),
        changed(REPLICATION, Resource="arn:aws-cn:ecr:*:*:repository/a/b"),
        changed(REPLICATION, Resource=None, NotResource=RESOURCE),
        changed(REPLICATION, Action=["ecr:BatchGetImage", "ecr:GetAuthorizationToken"]),
    ],
)
def test_registry_policies_that_are_accepted(text: str) -> None:
    """A registry policy names repositories, and any ECR action."""
    validate_registry_policy(text)


@pytest.mark.parametrize(
    "text",
    [
        *NOT_DOCUMENTS,
        *BAD_POLICIES,
        policy(STATEMENT),
        changed(REPLICATION, Resource=[]),
        changed(REPLICATION, Resource=1),
        changed(REPLICATION, Resource="repository/a"),
        changed(REPLICATION, Resource="arn:aws:s3:::bucket"),
        changed(REPLICATION, NotResource=RESOURCE),
        policy(REPLICATION, REPLICATION),
    ],
)
def test_refused_registry_policies(text: str) -> None:
    """A resource is required, statement ids are unique, and the error names the registry."""
    assert_refused(validate_registry_policy, "registry", text)


V1_ACTIONS = ["ecr:ReplicateImage", "ecr:BatchImportUpstreamImage", "ecr:CreateRepository"]


@pytest.mark.parametrize("action", [*V1_ACTIONS, V1_ACTIONS, "ecr:*", "ECR:createrepository"])
def test_registry_policies_of_version_1(action: str | list[str]) -> None:
    """The three actions of the first registry policy scope, and all of them."""
    for scope in ("V1", "V2"):
        validate_registry_policy(changed(REPLICATION, Action=action), scope)


@pytest.mark.parametrize(
    "elements",
    [
        {"Action": "ecr:BatchGetImage"},
        {"Action": [*V1_ACTIONS, "ecr:PutImage"]},
        {"Action": "ecr:Replicate*"},
        {"Action": "*"},
        {"Action": None, "NotAction": "ecr:CreateRepository"},
    ],
)
def test_actions_of_version_2_only(elements: dict[str, Any]) -> None:
    """Any other action waits for the second scope."""
    text = changed(REPLICATION, **elements)
    validate_registry_policy(text, "V2")
    assert_refused(lambda text: validate_registry_policy(text, "V1"), "registry", text)


def test_reading_a_document() -> None:
    """One JSON object comes back as it is."""
    assert read_document(' {"a": [1, {"b": null}], "c": {"b": 2}}\n') == {
        "a": [1, {"b": None}],
        "c": {"b": 2},
    }


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["*", "Allow", ROOT]),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
)


@given(st.text() | json_values.map(json.dumps))
def test_no_text_is_refused_with_another_error(text: str) -> None:
    """Whatever the text, ECR's error is the answer."""
    for validate in (validate_repository_policy, validate_registry_policy):
        with pytest.raises(InvalidParameterException):
            validate(text)


@given(st.sampled_from([*REPLICATION, "Condition", "NotAction", "NotPrincipal", "Id"]), json_values)
def test_no_element_is_refused_with_another_error(element: str, value: Any) -> None:
    """A policy with any value in an element passes, or is refused with ECR's error."""
    text = policy({**REPLICATION, element: value})
    for validate in (validate_repository_policy, validate_registry_policy):
        with suppress(InvalidParameterException):
            validate(text)
