"""Pull time update exclusions: who is excluded pulls without a trace, and callers are who they are."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from ecr_emulator.settings import MEMORY, Settings
from ecr_emulator.testing import BackgroundServer

from .conftest import connect, put_image, refused
from .oci_client import OciClient

ACCOUNT = "111122223333"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/security/scanner"
USER = f"arn:aws:iam::{ACCOUNT}:user/alice"
CREDENTIALS = f"""
[AKIASCANNER]
arn = "arn:aws:sts::{ACCOUNT}:assumed-role/scanner/nightly"

[AKIADEPLOYER]
arn = "arn:aws:sts::{ACCOUNT}:assumed-role/deployer/nightly"

[AKIAALICE]
arn = "{USER}"
"""


@pytest.fixture(scope="module", params=["off", "token"])
def known(request, tmp_path_factory):
    """A server that knows some principals, and wants a token on /v2/ or does not."""
    file = tmp_path_factory.mktemp("credentials") / "credentials.toml"
    file.write_text(CREDENTIALS)
    settings = Settings(data_dir=MEMORY, port=0, auth=request.param, credentials=str(file))
    with BackgroundServer(settings) as server:
        yield server


@pytest.fixture
def client_of(known):
    """Make clients by access key id on the server with nothing in it but an image of the account."""
    known.reset()
    client = connect(known.url, ACCOUNT)
    client.create_repository(repositoryName="app")
    put_image(client, "app", "v1")
    return lambda key: connect(known.url, key)


def pull_over_the_api(_server, client):
    (image,) = client.batch_get_image(repositoryName="app", imageIds=[{"imageTag": "v1"}])["images"]
    assert image["imageId"]["imageTag"] == "v1"


def pull_over_v2(server, client):
    (granted,) = client.get_authorization_token()["authorizationData"]
    oci = OciClient(server.address, Authorization=f"Basic {granted['authorizationToken']}")
    assert oci.get("/v2/app/manifests/v1").status == 200


@pytest.fixture(params=[pull_over_the_api, pull_over_v2], ids=lambda pull: pull.__name__)
def pull(request):
    """Pull an image with an access key id, on one plane or the other."""
    return request.param


def pulled_at(client):
    (image,) = client.describe_images(repositoryName="app")["imageDetails"]
    return image.get("lastRecordedPullTime")


@pytest.mark.parametrize(
    ("principal", "key"),
    [(ROLE, "AKIASCANNER"), (USER, "AKIAALICE"), (ROLE.replace("/security", ""), "AKIASCANNER")],
)
def test_pulls_of_an_excluded_principal_are_not_recorded(known, client_of, pull, principal, key):
    owner, excluded, other = client_of(ACCOUNT), client_of(key), client_of("AKIADEPLOYER")
    owner.register_pull_time_update_exclusion(principalArn=principal)
    pull(known, excluded)
    assert pulled_at(owner) is None
    pull(known, other)
    recorded = pulled_at(owner)
    assert recorded is not None
    known.advance_clock(25 * 3600)
    pull(known, excluded)
    assert pulled_at(owner) == recorded
    owner.deregister_pull_time_update_exclusion(principalArn=principal)
    pull(known, excluded)
    assert pulled_at(owner) - recorded > timedelta(hours=24)


def test_an_exclusion_is_of_one_registry(known, client_of, pull):
    elsewhere = connect(known.url, "AKIASCANNER", "eu-west-1")
    elsewhere.register_pull_time_update_exclusion(principalArn=ROLE)
    pull(known, client_of("AKIASCANNER"))
    assert pulled_at(client_of(ACCOUNT)) is not None


def test_a_principal_of_another_account_can_be_excluded(known, client_of):
    account = "444455556666"
    owner, caller = client_of(account), client_of("AKIASCANNER")
    owner.create_repository(repositoryName="app")
    put_image(owner, "app", "v1")
    statement = {"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "ecr:BatchGetImage"}
    owner.set_repository_policy(repositoryName="app", policyText=json.dumps({"Statement": [statement]}))
    owner.register_pull_time_update_exclusion(principalArn=ROLE)
    caller.batch_get_image(registryId=account, repositoryName="app", imageIds=[{"imageTag": "v1"}])
    (granted,) = caller.get_authorization_token(registryIds=[account])["authorizationData"]
    oci = OciClient(known.address, Authorization=f"Basic {granted['authorizationToken']}")
    assert oci.get("/v2/app/manifests/v1").status == 200
    assert pulled_at(owner) is None
    client_of("AKIADEPLOYER").batch_get_image(
        registryId=account, repositoryName="app", imageIds=[{"imageTag": "v1"}]
    )
    assert pulled_at(owner) is not None


def test_a_known_access_key_is_of_its_principals_account(client_of):
    repositories = client_of("AKIAALICE").describe_repositories()["repositories"]
    assert [repository["registryId"] for repository in repositories] == [ACCOUNT]
    assert client_of("AKIABOB").describe_repositories()["repositories"] == []


def test_exclusions_are_registered_listed_and_removed(ecr):
    before = datetime.now(UTC) - timedelta(seconds=1)
    for principal in (USER, ROLE):
        answer = ecr.register_pull_time_update_exclusion(principalArn=principal)
        assert answer["principalArn"] == principal
        assert before <= answer["createdAt"] <= datetime.now(UTC) + timedelta(seconds=1)
    assert ecr.list_pull_time_update_exclusions()["pullTimeUpdateExclusions"] == [ROLE, USER]
    assert refused(ecr.register_pull_time_update_exclusion, principalArn=ROLE) == (
        "ExclusionAlreadyExistsException",
        f"The pull time update exclusion for the principal '{ROLE}' already exists in the registry with id "
        "'000000000000'",
    )
    removed = ecr.deregister_pull_time_update_exclusion(principalArn=ROLE)
    assert removed["principalArn"] == ROLE
    assert ecr.list_pull_time_update_exclusions()["pullTimeUpdateExclusions"] == [USER]
    assert refused(ecr.deregister_pull_time_update_exclusion, principalArn=ROLE) == (
        "ExclusionNotFoundException",
        f"The pull time update exclusion for the principal '{ROLE}' does not exist in the registry with id "
        "'000000000000'",
    )


@pytest.mark.parametrize(
    "arn",
    [
        "",
        "*",
        f"arn:aws:iam::{ACCOUNT}:root",
        f"arn:aws:iam::{ACCOUNT}:group/scanners",
        f"arn:aws:iam::{ACCOUNT}:role/",
        f"arn:aws:iam::{ACCOUNT}:role/scänner",
        f"arn:aws:sts::{ACCOUNT}:assumed-role/scanner/nightly",
        f"arn:aws:iam::{ACCOUNT}:role/{'x' * 200}",
    ],
)
def test_only_roles_and_users_can_be_excluded(ecr, arn):
    for operation in (ecr.register_pull_time_update_exclusion, ecr.deregister_pull_time_update_exclusion):
        code, message = refused(operation, principalArn=arn)
        assert code == "InvalidParameterException"
        assert "'principalArn'" in message
    assert ecr.list_pull_time_update_exclusions()["pullTimeUpdateExclusions"] == []


def test_a_registry_has_at_most_a_hundred_exclusions_which_are_listed_in_pages(server, ecr):
    arns = [f"arn:aws:iam::{ACCOUNT}:role/r{number:02}" for number in range(100)]
    for arn in reversed(arns):
        ecr.register_pull_time_update_exclusion(principalArn=arn)
    assert refused(ecr.register_pull_time_update_exclusion, principalArn=USER) == (
        "LimitExceededException",
        "The registry with id '000000000000' already has the maximum number of 100 pull time update "
        "exclusions",
    )
    # One that is there is told as such all the same, and another registry has its own.
    assert refused(ecr.register_pull_time_update_exclusion, principalArn=arns[0])[0] == (
        "ExclusionAlreadyExistsException"
    )
    connect(server.url, ACCOUNT).register_pull_time_update_exclusion(principalArn=USER)

    whole = ecr.list_pull_time_update_exclusions()
    assert (whole["pullTimeUpdateExclusions"], whole.get("nextToken")) == (arns, None)
    pages = [ecr.list_pull_time_update_exclusions(maxResults=33)]
    while token := pages[-1].get("nextToken"):
        pages.append(ecr.list_pull_time_update_exclusions(maxResults=33, nextToken=token))
    listed = [page["pullTimeUpdateExclusions"] for page in pages]
    assert [len(page) for page in listed] == [33, 33, 33, 1]
    assert [arn for page in listed for arn in page] == arns
    token = pages[0]["nextToken"]
    for given in ({"nextToken": token[:-1]}, {"nextToken": "x"}, {"maxResults": 1001}):
        code, _ = refused(ecr.list_pull_time_update_exclusions, **given)
        assert code == "InvalidParameterException"
    elsewhere = connect(server.url, ACCOUNT)
    assert (
        refused(elsewhere.list_pull_time_update_exclusions, nextToken=token)[0] == "InvalidParameterException"
    )

    ecr.deregister_pull_time_update_exclusion(principalArn=arns[50])
    ecr.register_pull_time_update_exclusion(principalArn=USER)
