"""Decisions on accesses: by which texts, with which keys, and once for each request."""

import asyncio
import json
import sqlite3

import pytest
from msgspec.structs import replace

from ecr_emulator.control.operations import functions
from ecr_emulator.core import account_settings, authorization, errors, iam, registry_policy, repositories
from ecr_emulator.core.authorization import EVERY_REPOSITORY, Access, Guard, authorize, decide, may
from ecr_emulator.core.call import unattended
from ecr_emulator.core.iam import Decision
from ecr_emulator.core.identities import Identity
from ecr_emulator.core.registry import Registry
from ecr_emulator.metadata.sqlite import SqliteDatabase, migrate
from ecr_emulator.metadata.store import Transaction
from ecr_emulator.oci import access as oci_access
from ecr_emulator.oci import endpoint as oci_endpoint

REGISTRY = Registry("111122223333", "eu-west-1")
USER = "arn:aws:iam::111122223333:user/dev/anna"
NOW = 1_800_000_000.0


@pytest.fixture
def tx():
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection)
    transaction = Transaction(SqliteDatabase(connection))
    repositories.create(transaction, unattended(REGISTRY, NOW), "app", tags={"team": "a"})
    yield transaction
    connection.close()


def caller(*statements, arn=USER, **more):
    """Return the call of a principal with an identity policy of these statements."""
    listed = [{"Effect": "Allow", "Resource": "*", **each} for each in statements]
    text = json.dumps({"Version": "2012-10-17", "Statement": listed})
    identity = Identity(arn, tuple(iam.parse("identity", text)))
    return replace(unattended(REGISTRY, NOW), caller_arn=arn, identity=identity, **more)


def access(action="ecr:ListImages", repository="app", **more):
    return Access(action, REGISTRY, repository, **more)


def set_policies(tx, repository=None, registry=None):
    call = unattended(REGISTRY, NOW)
    if repository is not None:
        text = json.dumps({"Statement": repository})
        repositories.set_policy(tx, call, "app", text, force=True)
    if registry is not None:
        registry_policy.put(tx, call, json.dumps({"Statement": {"Resource": "*", **registry}}))


DENY = {"Effect": "Deny", "Principal": "*", "Action": "ecr:*"}
ALLOW = {**DENY, "Effect": "Allow"}


@pytest.mark.parametrize(
    ("name", "resource"),
    [
        ("app", "arn:aws:ecr:eu-west-1:111122223333:repository/app"),
        (EVERY_REPOSITORY, "arn:aws:ecr:eu-west-1:111122223333:repository/*"),
        (None, "*"),
    ],
)
def test_policies_name_what_is_acted_on(name, resource):
    assert access(repository=name).resource == resource


def test_a_refusal_says_who_what_where_and_why(tx):
    with pytest.raises(errors.AccessDeniedException) as raised:
        authorize(tx, caller(), access())
    assert raised.value.message == (
        f"User: {USER} is not authorized to perform: ecr:ListImages on resource: "
        "arn:aws:ecr:eu-west-1:111122223333:repository/app because no identity-based policy allows the "
        "ecr:ListImages action"
    )
    authorize(tx, caller({"Action": "ecr:List*"}), access())


@pytest.mark.parametrize("policies", [{"repository": DENY}, {"registry": DENY}])
def test_a_caller_whom_nobody_knows_is_stopped_by_a_deny_alone(tx, policies):
    stranger = replace(unattended(REGISTRY, NOW), caller_arn="arn:aws:iam::444455556666:root")
    assert decide(tx, stranger, access()).allowed
    set_policies(tx, repository={**ALLOW, "Principal": {"AWS": "777788889999"}})
    assert decide(tx, stranger, access()).allowed
    set_policies(tx, **policies)
    assert not decide(tx, stranger, access()).allowed


def test_both_policies_of_the_resource_count(tx):
    nobody = caller()
    set_policies(tx, registry=ALLOW)
    assert decide(tx, nobody, access()).statement.kind == "registry"
    set_policies(tx, repository=DENY)
    assert decide(tx, nobody, access()).statement.kind == "repository"
    assert not may(tx, nobody, "ecr:ListImages", "app")
    assert may(tx, nobody, "ecr:ListImages", "other")


def test_version_1_of_a_registry_policys_scope_is_about_three_actions(tx):
    call = unattended(REGISTRY, NOW)
    set_policies(tx, registry=ALLOW)
    account_settings.put(tx, call, "REGISTRY_POLICY_SCOPE", "V1")
    assert not may(tx, caller(), "ecr:ListImages", "app")
    for action in ("ecr:CreateRepository", "ecr:BatchImportUpstreamImage", "ecr:ReplicateImage"):
        assert may(tx, caller(), action, "app")
    account_settings.put(tx, call, "REGISTRY_POLICY_SCOPE", "V2")
    assert may(tx, caller(), "ecr:ListImages", "app")


def test_a_token_is_got_by_the_callers_own_policies(tx):
    set_policies(tx, registry=DENY)
    wanted = access("ecr:GetAuthorizationToken", None)
    assert decide(tx, caller({"Action": "ecr:*"}), wanted).allowed
    set_policies(tx, registry=ALLOW)
    assert not decide(tx, caller(), wanted).allowed


def test_another_policy_can_stand_in_for_the_repositorys(tx):
    set_policies(tx, repository=DENY)
    text = json.dumps({"Statement": ALLOW})
    assert decide(tx, caller(), access(), repository_policy=text).allowed
    assert not decide(tx, caller(), access()).allowed


KEYS = {
    "aws:PrincipalArn": USER,
    "aws:PrincipalAccount": "111122223333",
    "aws:PrincipalOrgID": "o-1",
    "aws:username": "anna",
    "aws:SourceIp": "10.1.2.3",
    "aws:UserAgent": "Boto3/1",
    "aws:SecureTransport": "true",
    "aws:CurrentTime": "2027-01-15T08:00:00Z",
    "aws:EpochTime": "1800000000",
    "aws:ResourceTag/team": "a",
    "ecr:ResourceTag/team": "a",
    "aws:RequestTag/stage": "prod",
    "aws:TagKeys": "stage",
}


@pytest.mark.parametrize("key", KEYS)
def test_a_request_has_the_keys_of_conditions(tx, key):
    call = caller(
        {"Action": "*", "Condition": {"StringEquals": {key: KEYS[key]}}},
        source_ip="10.1.2.3",
        user_agent="Boto3/1",
    )
    call = replace(call, identity=replace(call.identity, organization="o-1"))
    wanted = access(tags={"stage": "prod"}, tag_keys=("stage",))
    assert decide(tx, call, wanted).allowed
    other = {"Action": "*", "Condition": {"StringNotEquals": {key: KEYS[key]}}}
    identity = replace(caller(other).identity, organization="o-1")
    assert not decide(tx, replace(call, identity=identity), wanted).allowed


def test_a_session_is_its_role_to_conditions(tx):
    condition = {"ArnEquals": {"aws:PrincipalArn": "arn:aws:iam::111122223333:role/ci"}}
    arn = "arn:aws:sts::111122223333:assumed-role/ci/run-7"
    assert decide(tx, caller({"Action": "*", "Condition": condition}, arn=arn), access()).allowed


def test_what_a_request_does_not_have_is_no_key(tx):
    for key in ("aws:SourceIp", "aws:UserAgent", "aws:PrincipalOrgID", "aws:TagKeys", "aws:RequestTag/x"):
        condition = {"Null": {key: "true"}}
        assert decide(tx, caller({"Action": "*", "Condition": condition}), access()).allowed


class Metadata:
    """A store with one transaction, which tells what ran in it."""

    def __init__(self, tx):
        self.tx = tx
        self.ran = []

    async def read(self, function, *args, **kwargs):
        return function(self.tx, *args, **kwargs)

    write = write_briefly = write_lazily = read


def note(tx, metadata, what):
    metadata.ran.append(what)
    return what


@pytest.mark.parametrize("way", ["read", "write", "write_briefly", "write_lazily"])
def test_the_first_transaction_of_a_request_decides(tx, monkeypatch, way):
    decisions = []

    def decide(_tx, _call, wanted):
        decisions.append(wanted)
        return Decision(True, None)

    monkeypatch.setattr(authorization, "authorize", decide)
    store, wanted = Metadata(tx), [access(), access("ecr:PutImage")]

    async def use():
        async with Guard(store, caller(), wanted) as metadata:
            for what in ("first", "second"):
                assert await getattr(metadata, way)(note, store, what) == what

    asyncio.run(use())
    assert (decisions, store.ran) == (wanted, ["first", "second"])


def test_nothing_is_done_for_whom_it_is_denied(tx):
    store = Metadata(tx)

    async def use(error=None):
        async with Guard(store, caller(), [access()]) as metadata:
            if error is not None:
                raise error
            await metadata.write(note, store, "done")

    for error in (None, KeyError("before any transaction")):
        with pytest.raises(errors.AccessDeniedException):
            asyncio.run(use(error))
    assert store.ran == []


def test_a_request_without_a_transaction_is_decided_on_at_its_end(tx):
    async def use():
        async with Guard(Metadata(tx), caller(), [access()]):
            pass

    with pytest.raises(errors.AccessDeniedException):
        asyncio.run(use())


def test_all_that_the_data_plane_answers_has_an_action():
    answered = {(noun, method) for noun, handlers in oci_endpoint._HANDLERS.items() for method in handlers}
    assert answered == oci_access._ACTIONS.keys()
    from ecr_emulator.control.access import actions

    assert functions().keys() <= actions().keys()
    assert set(oci_access._ACTIONS.values()) <= set(actions().values())
