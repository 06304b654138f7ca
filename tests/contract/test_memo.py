"""What is answered from memory is what asking again would give: after each kind of write."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from botocore.exceptions import ClientError

from tests.contract.oci_client import OciClient

DENY = {"Effect": "Deny", "Principal": "*", "Action": "ecr:BatchGetImage"}


def policy(**changed):
    return json.dumps({"Version": "2012-10-17", "Statement": [DENY | changed]})


def get(oci, reference="v1"):
    return oci.get(f"/v2/app/manifests/{reference}")


@pytest.fixture
def oci(server):
    """A client of the data plane."""
    return OciClient(server.address)


@pytest.fixture
def image(ecr, oci):
    """An image whose manifest was just asked for."""
    ecr.create_repository(repositoryName="app")
    pushed = oci.push_image("app", "v1")
    for _ in range(3):
        assert get(oci).body == pushed.manifest
    return pushed


def test_a_tag_that_moves_is_seen_at_once(oci, image):
    other = oci.push_image("app", "v1", seed="other")
    assert other.digest != image.digest
    assert get(oci).body == other.manifest
    assert get(oci, image.digest).body == image.manifest


def test_an_image_that_goes_is_gone(ecr, oci, image):
    ecr.batch_delete_image(repositoryName="app", imageIds=[{"imageDigest": image.digest}])
    assert get(oci).status == 404


def test_a_policy_that_comes_counts_for_the_next_pull(ecr, oci, image):
    ecr.set_repository_policy(repositoryName="app", policyText=policy(), force=True)
    assert get(oci).status == 403
    ecr.delete_repository_policy(repositoryName="app")
    assert get(oci).status == 200


def test_who_is_refused_by_a_condition_is_asked_each_time(ecr, oci, image):
    condition = {"StringEquals": {"aws:UserAgent": "refused"}}
    ecr.set_repository_policy(repositoryName="app", policyText=policy(Condition=condition), force=True)
    for _ in range(2):
        assert get(oci).status == 200
        refused = oci.get("/v2/app/manifests/v1", {"User-Agent": "refused"})
        assert refused.status == 403


def test_a_refusal_that_a_time_lifts_ends_then(ecr, oci, server, image):
    until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    condition = {"DateLessThan": {"aws:CurrentTime": until}}
    ecr.set_repository_policy(repositoryName="app", policyText=policy(Condition=condition), force=True)
    assert get(oci).status == get(oci).status == 403
    server.advance_clock(3700)
    assert get(oci).status == 200


def test_a_refusal_begins_when_its_time_comes(ecr, oci, server, image):
    since = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    condition = {"DateGreaterThan": {"aws:CurrentTime": since}}
    denied = json.dumps(
        {
            "Statement": [
                DENY | {"Action": "ecr:Describe*", "Condition": condition},
                DENY | {"Condition": condition},
            ]
        }
    )
    ecr.set_repository_policy(repositoryName="app", policyText=denied, force=True)
    for _ in range(2):
        assert get(oci).status == 200
        assert ecr.describe_repositories(repositoryNames=["app"])["repositories"]
    server.advance_clock(3700)
    assert get(oci).status == 403
    with pytest.raises(ClientError, match="AccessDeniedException"):
        ecr.describe_repositories(repositoryNames=["app"])


def test_the_audit_trail_has_each_of_the_pulls(oci, image):
    headers = {"User-Agent": "puller", "Accept": "application/vnd.oci.image.manifest.v1+json"}
    for _ in range(3):
        assert oci.get("/v2/app/manifests/v1", headers).status == 200
    found = oci.get("/_emulator/audit?eventName=BatchGetImage&limit=1000").json()["Records"]
    pulls = [each for each in found if each["userAgent"] == "puller"]
    assert len({each["requestID"] for each in pulls}) == 3
    assert len({json.dumps(each["requestParameters"]) for each in pulls}) == 1


def test_what_is_accepted_is_told_to_the_audit_trail_each_time(oci, image):
    for accepted in ("a/a", "b/b"):
        oci.get("/v2/app/manifests/v1", {"Accept": accepted, "User-Agent": "choosy"})
    found = oci.get("/_emulator/audit?eventName=BatchGetImage&limit=1000").json()["Records"]
    pulls = [each for each in found if each["userAgent"] == "choosy"]
    assert [each["requestParameters"]["acceptedMediaTypes"] for each in pulls] == [["a/a"], ["b/b"]]


def test_head_and_get_are_not_taken_for_each_other(oci, image):
    for _ in range(2):
        assert oci.head("/v2/app/manifests/v1").body == b""
        assert get(oci).body == image.manifest


def test_a_pull_is_recorded_though_the_manifest_is_remembered(ecr, oci, server, image):
    def pulled_at():
        [found] = ecr.describe_images(repositoryName="app")["imageDetails"]
        return found["lastRecordedPullTime"]

    first = pulled_at()
    server.advance_clock(90_000)
    get(oci)
    assert (pulled_at() - first).total_seconds() >= 90_000


def test_repositories_are_listed_as_they_are(ecr):
    def names():
        return [found["repositoryName"] for found in ecr.describe_repositories()["repositories"]]

    for expected in (["app-a"], ["app-a", "app-b"]):
        ecr.create_repository(repositoryName=expected[-1])
        assert names() == names() == expected
    ecr.delete_repository(repositoryName="app-a")
    assert names() == ["app-b"]
    ecr.put_image_tag_mutability(repositoryName="app-b", imageTagMutability="IMMUTABLE")
    [found] = ecr.describe_repositories()["repositories"]
    assert found["imageTagMutability"] == "IMMUTABLE"
