"""The evaluation of policies: who may do what, by which statement, and what no further statement changes."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecr_emulator.core import iam
from ecr_emulator.core.iam import ANONYMOUS, Decision, Request

OWN, OTHER = "111122223333", "444455556666"
REPOSITORY = f"arn:aws:ecr:us-west-2:{OWN}:repository/team/app"
ROOT, OTHER_ROOT = f"arn:aws:iam::{OWN}:root", f"arn:aws:iam::{OTHER}:root"
USER, OTHER_USER = f"arn:aws:iam::{OWN}:user/dev/anna", f"arn:aws:iam::{OTHER}:user/bob"
ROLE = f"arn:aws:iam::{OTHER}:role/ci/builder"
SESSION = f"arn:aws:sts::{OTHER}:assumed-role/builder/run-7"
ALL = {"Effect": "Allow", "Action": "*", "Resource": "*"}
DENIED_BY_IDENTITY = "because no identity-based policy allows the ecr:PutImage action"
DENIED_BY_RESOURCE = "because no resource-based policy allows the ecr:PutImage action"


def request(principal: str = USER, action: str = "ecr:PutImage", **more: Any) -> Request:
    """Return a request to push to the repository."""
    return Request(
        **{
            "principal": principal,
            "action": action,
            "resource": REPOSITORY,
            "account": OWN,
            "keys": {},
            **more,
        }
    )


def decide(
    wanted: Request,
    *,
    identity: Any = (),
    repository: Any = (),
    registry: Any = (),
    version: str = "2012-10-17",
) -> Decision:
    """Evaluate a request by the statements of each kind of policy."""
    kinds = {"identity": identity, "repository": repository, "registry": registry}
    statements = [
        statement
        for kind, listed in kinds.items()
        for statement in iam.parse(kind, json.dumps({"Version": version, "Statement": listed}))  # type: ignore[arg-type]
    ]
    return iam.evaluate(wanted, statements)


def grants(principal: Any, **elements: Any) -> dict[str, Any]:
    """Return a statement of a repository policy that lets somebody do anything."""
    return {"Effect": "Allow", "Principal": principal, "Action": "ecr:*", **elements}


def is_granted(principal: str, **elements: Any) -> bool:
    """Tell whether a statement of the resource's policy covers a caller who has all other rights."""
    statement = {"Effect": "Allow", "Action": "ecr:*", **elements}
    return decide(request(principal), identity=[ALL], repository=[statement]).allowed


@pytest.mark.parametrize(
    ("principal", "identity", "repository", "allowed", "reason"),
    [
        # Inside an account either side is enough.
        (USER, [], [], False, DENIED_BY_IDENTITY),
        (USER, [ALL], [], True, ""),
        (USER, [], [grants({"AWS": USER})], True, ""),
        (USER, [], [grants("*")], True, ""),
        # To name the account leaves it to the account's identity policies.
        (USER, [], [grants({"AWS": ROOT})], False, DENIED_BY_IDENTITY),
        (USER, [], [grants({"AWS": OWN})], False, DENIED_BY_IDENTITY),
        (USER, [ALL], [grants({"AWS": OWN})], True, ""),
        (ROOT, [], [], True, ""),
        (
            ROOT,
            [],
            [grants({"AWS": ROOT}, Effect="Deny")],
            False,
            "with an explicit deny in a resource-based policy",
        ),
        # Across accounts both are needed; an account's root needs no identity policy.
        (OTHER_USER, [ALL], [], False, DENIED_BY_RESOURCE),
        (OTHER_USER, [], [grants({"AWS": OTHER_USER})], False, DENIED_BY_IDENTITY),
        (OTHER_USER, [ALL], [grants({"AWS": OTHER_USER})], True, ""),
        (OTHER_USER, [ALL], [grants({"AWS": OTHER_ROOT})], True, ""),
        (OTHER_USER, [ALL], [grants({"AWS": ROOT})], False, DENIED_BY_RESOURCE),
        (OTHER_ROOT, [], [], False, DENIED_BY_RESOURCE),
        (OTHER_ROOT, [], [grants({"AWS": OTHER_ROOT})], True, ""),
        # Nobody's identity policies are asked for services and strangers.
        ("lambda.amazonaws.com", [], [], False, DENIED_BY_RESOURCE),
        ("lambda.amazonaws.com", [], [grants({"Service": "lambda.amazonaws.com"})], True, ""),
        (ANONYMOUS, [], [grants({"AWS": OTHER_ROOT})], False, DENIED_BY_RESOURCE),
        (ANONYMOUS, [], [grants("*")], True, ""),
        # A deny on either side decides.
        (
            USER,
            [ALL, {**ALL, "Effect": "Deny"}],
            [grants("*")],
            False,
            "with an explicit deny in an identity-based policy",
        ),
    ],
)
def test_who_decides(principal, identity, repository, allowed, reason):
    decision = decide(request(principal), identity=identity, repository=repository)
    assert (decision.allowed, decision.reason) == (allowed, reason)


def test_the_deciding_statement_is_named():
    deny = grants("*", Effect="Deny", Sid="never", Resource="*")
    decision = decide(
        request(), identity=[ALL], repository=[grants("*")], registry=[grants("*", Resource="*"), deny]
    )
    assert decision.statement is not None
    assert (decision.statement.kind, decision.statement.index, decision.statement.sid) == (
        "registry",
        1,
        "never",
    )
    allowed = decide(request(), identity=[{**ALL, "Action": "ecr:GetAuthorizationToken"}, ALL])
    assert allowed.statement is not None
    assert (allowed.statement.kind, allowed.statement.index, allowed.statement.sid) == ("identity", 1, None)
    assert decide(request()).statement is None


@pytest.mark.parametrize(
    ("caller", "principal", "covered"),
    [
        (SESSION, {"AWS": ROLE}, True),
        (SESSION, {"AWS": ROLE.replace("builder", "other")}, False),
        (SESSION, {"AWS": ROLE.replace(OTHER, OWN)}, False),
        (SESSION, {"AWS": SESSION}, True),
        (SESSION, {"AWS": SESSION.replace("run-7", "run-8")}, False),
        (SESSION, {"AWS": OTHER_ROOT}, True),
        (SESSION, {"AWS": [USER, OTHER]}, True),
        (SESSION, {"AWS": "*"}, True),
        (SESSION, {"AWS": f"arn:aws:iam::{OTHER}:user/builder"}, False),
        (OTHER_USER, {"AWS": ROLE}, False),
        (OTHER_USER, {"AWS": OTHER_USER.upper()}, False),
        (OTHER_USER, {"Service": "ecs.amazonaws.com", "AWS": OTHER_USER}, True),
        ("ecs.amazonaws.com", {"Service": ["lambda.amazonaws.com", "ecs.amazonaws.com"]}, True),
        ("ecs.amazonaws.com", {"AWS": OTHER}, False),
    ],
)
def test_principals(caller, principal, covered):
    assert is_granted(caller, Principal=principal) == covered
    # And NotPrincipal means all others.
    assert is_granted(caller, NotPrincipal=principal) != covered


@pytest.mark.parametrize(
    ("pattern", "covered"),
    [
        ("ecr:PutImage", True),
        ("ECR:putimage", True),
        ("ecr:Put*", True),
        ("ecr:?utImage", True),
        ("ecr:*Image", True),
        ("*", True),
        ("ecr:PutImag", False),
        ("ecr:PutImage?", False),
        ("ecr.PutImage", False),
        (["ecr:GetAuthorizationToken", "ecr:PutImage"], True),
    ],
)
def test_actions(pattern, covered):
    assert (
        decide(request(), identity=[{"Effect": "Allow", "Action": pattern, "Resource": "*"}]).allowed
        == covered
    )
    negated = {"Effect": "Allow", "NotAction": pattern, "Resource": "*"}
    assert decide(request(), identity=[negated]).allowed != covered


@pytest.mark.parametrize(
    ("pattern", "covered"),
    [
        (REPOSITORY, True),
        ("*", True),
        (REPOSITORY.replace("team/app", "*"), True),
        (REPOSITORY.replace("team/app", "team/???"), True),
        (REPOSITORY.replace("us-west-2", "*"), True),
        (REPOSITORY.replace("us-west-2", "us-east-1"), False),
        (REPOSITORY.replace("app", "App"), False),
        (REPOSITORY.replace("team/app", "team"), False),
        # A wildcard does not go beyond a colon.
        ("arn:aws:ecr:*:repository/team/app", False),
        (f"arn:aws:*:*:{OWN}:repository/*", True),
        ([f"arn:aws:ecr:us-west-2:{OWN}:repository/x", REPOSITORY], True),
    ],
)
def test_resources(pattern, covered):
    assert (
        decide(request(), identity=[{"Effect": "Allow", "Action": "*", "Resource": pattern}]).allowed
        == covered
    )
    negated = {"Effect": "Allow", "Action": "*", "NotResource": pattern}
    assert decide(request(), identity=[negated]).allowed != covered


KEYS = {
    "aws:PrincipalArn": USER,
    "aws:PrincipalAccount": OWN,
    "aws:SourceIp": "10.1.2.3",
    "aws:CurrentTime": "2030-01-31T12:00:00Z",
    "aws:EpochTime": "1896091200",
    "aws:SecureTransport": "true",
    "aws:TagKeys": ["team", "env"],
    "aws:PrincipalTag/team": "app",
    "aws:MultiFactorAuthAge": "300",
}


@pytest.mark.parametrize(
    ("operator", "key", "wanted", "holds"),
    [
        ("StringEquals", "aws:PrincipalAccount", OWN, True),
        ("StringEquals", "AWS:principalaccount", [OTHER, OWN], True),
        ("StringEquals", "aws:PrincipalAccount", OTHER, False),
        ("StringEquals", "aws:PrincipalAccount", "1111*", False),
        ("StringEquals", "aws:Absent", OWN, False),
        ("StringNotEquals", "aws:PrincipalAccount", [OTHER, OWN], False),
        ("StringNotEquals", "aws:PrincipalAccount", OTHER, True),
        ("StringNotEquals", "aws:Absent", OTHER, True),
        ("StringEqualsIgnoreCase", "aws:PrincipalTag/team", "APP", True),
        ("StringEquals", "aws:PrincipalTag/team", "APP", False),
        ("StringNotEqualsIgnoreCase", "aws:PrincipalTag/team", "APP", False),
        ("StringLike", "aws:PrincipalArn", "arn:*:user/*", True),
        ("StringLike", "aws:PrincipalArn", "arn:*:role/*", False),
        ("StringNotLike", "aws:PrincipalArn", "arn:*:role/*", True),
        ("StringEqualsIfExists", "aws:Absent", OWN, True),
        ("StringEqualsIfExists", "aws:PrincipalAccount", OTHER, False),
        ("NumericEquals", "aws:MultiFactorAuthAge", 300, True),
        ("NumericEquals", "aws:MultiFactorAuthAge", "300.0", True),
        ("NumericNotEquals", "aws:MultiFactorAuthAge", 300, False),
        ("NumericLessThan", "aws:MultiFactorAuthAge", 300, False),
        ("NumericLessThanEquals", "aws:MultiFactorAuthAge", 300, True),
        ("NumericGreaterThan", "aws:MultiFactorAuthAge", "299", True),
        ("NumericGreaterThanEquals", "aws:MultiFactorAuthAge", "301", False),
        ("NumericEquals", "aws:PrincipalArn", 300, False),
        ("NumericLessThanIfExists", "aws:Absent", 300, True),
        ("DateEquals", "aws:CurrentTime", "2030-01-31T13:00:00+01:00", True),
        ("DateNotEquals", "aws:CurrentTime", "2030-01-31", True),
        ("DateLessThan", "aws:CurrentTime", "2030-02-01T00:00:00Z", True),
        ("DateGreaterThan", "aws:CurrentTime", "2030-01-31", True),
        ("DateGreaterThanEquals", "aws:EpochTime", "2030-01-31T12:00:00Z", True),
        ("DateLessThanEquals", "aws:EpochTime", 1896091199, False),
        ("DateEquals", "aws:CurrentTime", "soon", False),
        ("Bool", "aws:SecureTransport", True, True),
        ("Bool", "aws:SecureTransport", "TRUE", True),
        ("Bool", "aws:SecureTransport", "false", False),
        ("IpAddress", "aws:SourceIp", "10.0.0.0/8", True),
        ("IpAddress", "aws:SourceIp", ["192.168.0.0/16", "10.1.2.3"], True),
        ("IpAddress", "aws:SourceIp", "2001:db8::/32", False),
        ("NotIpAddress", "aws:SourceIp", "10.0.0.0/8", False),
        ("NotIpAddress", "aws:SourceIp", "11.0.0.0/8", True),
        ("ArnEquals", "aws:PrincipalArn", f"arn:aws:iam::{OWN}:user/*", True),
        ("ArnLike", "aws:PrincipalArn", "arn:aws:iam::*:user/dev/?nna", True),
        ("ArnLike", "aws:PrincipalArn", "arn:aws:iam:*:user/dev/anna", False),
        ("ArnNotLike", "aws:PrincipalArn", "arn:aws:iam::*:role/*", True),
        ("ArnNotEquals", "aws:PrincipalArn", USER, False),
        ("BinaryEquals", "aws:PrincipalTag/team", "app", True),
        ("Null", "aws:Absent", "true", True),
        ("Null", "aws:Absent", False, False),
        ("Null", "aws:SourceIp", "false", True),
        ("Null", "aws:SourceIp", "true", False),
        ("ForAllValues:StringEquals", "aws:TagKeys", ["team", "env", "cost"], True),
        ("ForAllValues:StringEquals", "aws:TagKeys", ["team"], False),
        ("ForAllValues:StringEquals", "aws:Absent", ["team"], True),
        ("ForAnyValue:StringEquals", "aws:TagKeys", ["env", "cost"], True),
        ("ForAnyValue:StringEquals", "aws:TagKeys", ["cost"], False),
        ("ForAnyValue:StringEquals", "aws:Absent", ["cost"], False),
        ("ForAnyValue:StringEqualsIfExists", "aws:Absent", ["cost"], True),
        ("ForAnyValue:StringNotEquals", "aws:TagKeys", ["env"], True),
        ("ForAllValues:StringNotEquals", "aws:TagKeys", ["env"], False),
        ("ForAllValues:StringNotLike", "aws:TagKeys", ["c*"], True),
        ("StringEquals", "aws:PrincipalTag/team", "${aws:PrincipalTag/team}", True),
        ("StringLike", "aws:PrincipalArn", "*/${aws:PrincipalTag/team}", False),
        ("StringLike", "aws:PrincipalArn", "*/${aws:PrincipalTag/name, 'anna'}", True),
        ("StringEquals", "aws:PrincipalTag/team", "${aws:Absent}", False),
        ("StringLike", "aws:PrincipalTag/team", "${*}", False),
    ],
)
def test_conditions(operator, key, wanted, holds):
    statement = {**ALL, "Condition": {operator: {key: wanted}}}
    assert decide(request(keys=KEYS), identity=[statement]).allowed == holds


def test_all_conditions_have_to_hold():
    true, false = {"aws:SecureTransport": "true"}, {"aws:SecureTransport": "false"}
    account = {"StringEquals": {"aws:PrincipalAccount": OWN, "aws:SourceIp": "10.1.2.3"}}
    for condition, holds in (
        ({**account, "Bool": true}, True),
        ({**account, "Bool": false}, False),
        ({"StringEquals": {**account["StringEquals"], "aws:SourceIp": "10.9.9.9"}}, False),
        ({}, True),
    ):
        assert decide(request(keys=KEYS), identity=[{**ALL, "Condition": condition}]).allowed == holds


def test_variables_stand_for_what_the_request_has():
    mine = {**ALL, "Resource": f"arn:aws:ecr:*:{OWN}:repository/team/${{aws:PrincipalTag/team}}"}
    assert decide(request(keys=KEYS), identity=[mine]).allowed
    assert not decide(request(keys={**KEYS, "aws:PrincipalTag/team": "web"}), identity=[mine]).allowed
    # What a caller can choose is no pattern.
    assert not decide(request(keys={**KEYS, "aws:PrincipalTag/team": "*"}), identity=[mine]).allowed
    assert not decide(request(), identity=[mine]).allowed
    assert not decide(request(keys=KEYS), identity=[mine], version="2008-10-17").allowed


principals = st.sampled_from([USER, ROOT, OTHER_USER, OTHER_ROOT, SESSION, "ecs.amazonaws.com", ANONYMOUS])
names = st.sampled_from([USER, ROOT, OWN, OTHER_USER, OTHER_ROOT, OTHER, ROLE, SESSION, "*"])
conditions = st.sampled_from(
    [
        {},
        {"Bool": {"aws:SecureTransport": "true"}},
        {"StringNotEquals": {"aws:PrincipalAccount": OWN}},
        {"StringEquals": {"aws:Absent": "x"}},
    ]
)


def statements(*effects: str) -> st.SearchStrategy[Any]:
    """Generate statements, each with the kind of policy that it is in."""

    @st.composite
    def build(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
        kind = draw(st.sampled_from(["identity", "repository", "registry"]))
        elements: dict[str, Any] = {
            "Effect": draw(st.sampled_from(effects)),
            draw(st.sampled_from(["Action", "NotAction"])): draw(
                st.lists(st.sampled_from(["ecr:*", "ecr:PutImage", "ecr:Get*"]), min_size=1)
            ),
            "Condition": draw(conditions),
        }
        if kind != "identity":
            elements[draw(st.sampled_from(["Principal", "NotPrincipal"]))] = {
                "AWS": draw(st.lists(names, min_size=1))
            }
        if kind != "repository":
            elements[draw(st.sampled_from(["Resource", "NotResource"]))] = draw(
                st.sampled_from(["*", REPOSITORY, "arn:aws:ecr:*:*:repository/*"])
            )
        return kind, elements

    return build()


policies = st.lists(statements("Allow", "Deny"), max_size=5)
requests = st.builds(
    request,
    principals,
    st.sampled_from(["ecr:PutImage", "ecr:GetLifecyclePolicy"]),
    keys=st.sampled_from([{}, KEYS]),
)


def evaluate(wanted: Request, listed: list[tuple[str, dict[str, Any]]]) -> Decision:
    """Evaluate a request by statements of mixed kinds."""
    kinds: dict[str, list[Any]] = {"identity": [], "repository": [], "registry": []}
    for kind, elements in listed:
        kinds[kind].append(elements)
    return decide(wanted, **kinds)


@given(requests, policies, statements("Allow"))
def test_a_further_allow_never_takes_a_right_away(wanted, listed, more):
    assert evaluate(wanted, listed).allowed <= evaluate(wanted, [*listed, more]).allowed


@given(requests, policies, statements("Deny"))
def test_a_further_deny_never_gives_a_right(wanted, listed, more):
    assert evaluate(wanted, [*listed, more]).allowed <= evaluate(wanted, listed).allowed


@given(requests, policies, st.sampled_from(["identity", "repository", "registry"]))
def test_a_deny_of_everything_always_wins(wanted, listed, kind):
    principal = {} if kind == "identity" else {"Principal": "*"}
    decision = evaluate(wanted, [*listed, (kind, {**ALL, **principal, "Effect": "Deny"})])
    assert not decision.allowed
    assert decision.statement is not None
    assert decision.statement.effect == "Deny"


@given(requests, policies, st.randoms())
def test_the_order_of_statements_does_not_matter(wanted, listed, random):
    shuffled = list(listed)
    random.shuffle(shuffled)
    assert evaluate(wanted, shuffled).allowed == evaluate(wanted, listed).allowed


@given(requests, policies)
def test_nobody_but_the_root_has_a_right_that_no_statement_gives(wanted, listed):
    decision = evaluate(wanted, listed)
    if decision.allowed and wanted.principal != ROOT:
        assert decision.statement is not None
        assert decision.statement.effect == "Allow"
    if not decision.allowed:
        assert decision.reason


@given(requests, policies)
def test_strangers_need_the_resources_policy(wanted, listed):
    without = [entry for entry in listed if entry[0] == "identity"]
    if iam.account_of(wanted.principal) != OWN:
        assert not evaluate(wanted, without).allowed


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({}, False),
        ({"Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}}, False),
        ({"Condition": {"DateLessThan": {"aws:CurrentTime": "2030-01-01"}}}, True),
        ({"Condition": {"NumericLessThan": {"AWS:epochtime": "1"}}}, True),
        ({"Condition": {"StringLike": {"aws:UserAgent": "${aws:CurrentTime}"}}}, True),
        ({"Resource": "arn:aws:ecr:*:*:repository/${aws:EpochTime}"}, True),
    ],
)
def test_statements_that_ask_the_time(elements: dict[str, Any], expected: bool) -> None:
    text = json.dumps({"Version": "2012-10-17", "Statement": [ALL | elements]})
    (statement,) = iam.parse("identity", text)
    assert statement.asks_time is expected
