"""Replication: what is pushed to one registry is pulled from another, where rules and policies let it."""

import hashlib
import json
import time

import pytest

from ecr_emulator.core import replicas
from ecr_emulator.core.replicas import RETRY_DELAYS
from ecr_emulator.settings import MEMORY, Settings
from ecr_emulator.testing import BackgroundServer
from tests.contract.conftest import OCI_INDEX, OCI_MANIFEST, descriptor, image_manifest, put_image, sha256
from tests.contract.registries import ApiError, Registry, run, run_to_the_end

OWN, OTHER = "111122223333", "444455556666"
DENIED = "DESTINATION_REGISTRY_ACCESS_DENIED"


@pytest.fixture(scope="module")
def ecr_server():
    """A server whose engines run when they are told to."""
    with BackgroundServer(Settings(data_dir=MEMORY, port=0, engines="off")) as server:
        yield server


@pytest.fixture
def registry(server):
    """Make the registry of an account in a region."""
    return lambda account, region: Registry(server, account, region)


@pytest.fixture
def source(registry):
    source = registry(OWN, "us-east-1")
    source.api.create_repository(repositoryName="app")
    return source


@pytest.fixture
def west(registry):
    """The same account in another region."""
    return registry(OWN, "us-west-2")


@pytest.fixture
def other(registry):
    """Another account in the same region."""
    return registry(OTHER, "us-east-1")


def permit(*actions, principal=f"arn:aws:iam::{OWN}:root", **elements):
    return {
        "Effect": "Allow",
        "Principal": {"AWS": principal},
        "Action": list(actions),
        "Resource": f"arn:aws:ecr:us-east-1:{OTHER}:repository/*",
        **elements,
    }


def put_index(client, repository, tag=None, seeds=("amd64", "arm64"), **members):
    """Put an index of images, and return the digests of the index and of the images."""
    children = [put_image(client, repository, seed=seed) for seed in seeds]
    found = client.batch_get_image(
        repositoryName=repository, imageIds=[{"imageDigest": digest} for digest in children]
    )["images"]
    listed = [descriptor(image["imageManifest"].encode(), OCI_MANIFEST) for image in found]
    manifest = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed, **members})
    named = {} if tag is None else {"imageTag": tag}
    client.put_image(repositoryName=repository, imageManifest=manifest, **named)
    return sha256(manifest.encode()), children


# The configuration


def test_a_configuration_is_kept_returned_and_replaced(source, west, other):
    assert source.call("DescribeRegistry") == {
        "registryId": OWN,
        "replicationConfiguration": {"rules": []},
    }
    rules = [
        {
            "destinations": [west.destination, other.destination],
            "repositoryFilters": [{"filter": "prod", "filterType": "PREFIX_MATCH"}],
            "deleteReplication": {"enabled": True},
        },
        {"destinations": [west.destination]},
    ]
    for given in (rules, []):
        configuration = {"rules": given}
        answer = source.call("PutReplicationConfiguration", replicationConfiguration=configuration)
        assert answer == {"replicationConfiguration": configuration}
        assert source.call("DescribeRegistry")["replicationConfiguration"] == configuration
        # Each region has its own.
        assert west.call("DescribeRegistry")["replicationConfiguration"] == {"rules": []}


def many(number, account=OWN):
    return [{"region": f"region-{n}", "registryId": account} for n in range(number)]


def prefixes(number):
    return [{"filter": f"team-{n}", "filterType": "PREFIX_MATCH"} for n in range(number)]


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (
            [
                {"destinations": [{"region": region, "registryId": OWN}]}
                for region in ("eu-west-1", "us-east-1")
            ],
            "Replication destination cannot be the same as the source registry",
        ),
        (
            [{"destinations": [{"region": "cn-north-1", "registryId": OTHER}]}],
            "Replication destination cannot be in another partition than the source registry",
        ),
        (
            [{"destinations": many(13)}, {"destinations": many(13, OTHER)}],
            "Replication configuration can have at most 25 unique destinations",
        ),
        ([{"destinations": many(1)}] * 26, "Member must have length less than or equal to 25"),
        (
            [{"destinations": many(1), "repositoryFilters": prefixes(101)}],
            "Member must have length less than or equal to 100",
        ),
        (
            [{"destinations": many(1), "repositoryFilters": []}],
            "Member must have length greater than or equal to 1",
        ),
        (
            [
                {
                    "destinations": many(1),
                    "repositoryFilters": [{"filter": "app", "filterType": "WILDCARD"}],
                }
            ],
            "Member must satisfy enum value set: [PREFIX_MATCH]",
        ),
        ([{"destinations": many(1), "deleteReplication": {}}], "Member must not be null"),
    ],
)
def test_a_bad_configuration_is_refused_and_changes_nothing(source, west, rules, message):
    source.replicate_to(west)
    with pytest.raises(ApiError) as raised:
        source.replicate(*rules)
    assert raised.value.code == "InvalidParameterException"
    assert message in raised.value.message
    assert source.call("DescribeRegistry")["replicationConfiguration"]["rules"] == [
        {"destinations": [west.destination]}
    ]


def test_the_most_that_is_allowed(source):
    rule = {"destinations": many(25), "repositoryFilters": prefixes(100)}
    source.replicate(*[rule] * 25)
    assert len(source.call("DescribeRegistry")["replicationConfiguration"]["rules"]) == 25


# Copies


def test_a_push_is_pulled_from_another_region(server, source, west):
    source.replicate_to(west)
    digest = put_image(source.api, "app", "v1")
    assert source.status("app", imageTag="v1") == {str(west): ("IN_PROGRESS", None)}
    with pytest.raises(LookupError):
        west.pull("app", "v1")
    assert run(server) == 1
    for reference in ("v1", digest):
        assert sha256(west.pull("app", reference)) == digest
        assert sha256(west.pull_by_host("app", reference)) == digest
    assert source.call(
        "DescribeImageReplicationStatus", repositoryName="app", imageId={"imageTag": "v1"}
    ) == {
        "repositoryName": "app",
        "imageId": {"imageDigest": digest, "imageTag": "v1"},
        "replicationStatuses": [{**west.destination, "status": "COMPLETE"}],
    }
    (replica,) = west.api.describe_images(repositoryName="app")["imageDetails"]
    (origin,) = source.api.describe_images(repositoryName="app")["imageDetails"]
    assert (replica["imageTags"], replica["registryId"]) == (["v1"], OWN)
    assert replica["imageSizeInBytes"] == origin["imageSizeInBytes"]
    assert run(server) == 0


def test_the_repository_of_a_replica_has_default_settings(server, source, west):
    source.api.create_repository(
        repositoryName="strict",
        imageTagMutability="IMMUTABLE",
        imageScanningConfiguration={"scanOnPush": True},
        tags=[{"Key": "team", "Value": "x"}],
    )
    source.replicate_to(west)
    put_image(source.api, "strict", "v1")
    run(server)
    (created,) = west.api.describe_repositories()["repositories"]
    assert (created["repositoryName"], created["imageTagMutability"]) == ("strict", "MUTABLE")
    assert created["imageScanningConfiguration"] == {"scanOnPush": False}
    assert west.api.list_tags_for_resource(resourceArn=created["repositoryArn"])["tags"] == []


def test_what_was_there_before_the_rule_is_not_copied(server, source, west):
    old = put_image(source.api, "app", "old", seed="old")
    source.replicate_to(west)
    new = put_image(source.api, "app", "new", seed="new")
    run(server)
    assert west.image_ids("app") == {(new, "new")}
    assert source.status("app", imageDigest=old) == {}
    # A push of what is there already is none; another tag is.
    with pytest.raises(source.api.exceptions.ImageAlreadyExistsException):
        put_image(source.api, "app", "old", seed="old")
    assert run(server) == 0
    put_image(source.api, "app", "again", seed="old")
    run(server)
    assert west.image_ids("app") == {(new, "new"), (old, "again")}


def test_an_image_by_digest_comes_without_a_tag(server, source, west):
    source.replicate_to(west)
    digest = put_image(source.api, "app")
    run(server)
    assert west.image_ids("app") == {(digest, None)}
    assert sha256(west.pull("app", digest)) == digest


def test_a_tag_moves_with_its_source(server, source, west):
    source.replicate_to(west)
    first = put_image(source.api, "app", "latest", seed="first")
    run(server)
    second = put_image(source.api, "app", "latest", seed="second")
    run(server)
    assert west.image_ids("app") == {(first, None), (second, "latest")}
    # Two moves between two runs end as they do in the source.
    third = put_image(source.api, "app", "latest", seed="third")
    put_image(source.api, "app", "latest", seed="first")
    run(server)
    assert west.image_ids("app") == {(first, "latest"), (second, None), (third, None)}


def test_an_index_comes_with_its_images(server, source, west):
    children = [put_image(source.api, "app", seed=seed) for seed in ("amd64", "arm64")]
    source.replicate_to(west)
    index, listed = put_index_of_known(source.api, children)
    run(server)
    assert sha256(west.pull("app", "multi")) == index
    assert west.image_ids("app") == {(index, "multi"), *((digest, None) for digest in listed)}
    nested = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [descriptor(west.pull("app", index), OCI_INDEX)],
        }
    )
    source.api.put_image(repositoryName="app", imageManifest=nested, imageTag="nested")
    run(server)
    assert west.pull("app", "nested").decode() == nested


def put_index_of_known(client, children):
    """Put an index of images that are there already."""
    found = client.batch_get_image(
        repositoryName="app", imageIds=[{"imageDigest": digest} for digest in children]
    )["images"]
    listed = [descriptor(image["imageManifest"].encode(), OCI_MANIFEST) for image in found]
    manifest = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed})
    client.put_image(repositoryName="app", imageManifest=manifest, imageTag="multi")
    return sha256(manifest.encode()), children


def test_an_artifact_refers_to_its_subject_in_the_replica_too(server, source, west):
    source.replicate_to(west)
    subject = put_image(source.api, "app", "v1")
    manifest = source.pull("app", "v1")
    signature = put_image(
        source.api,
        "app",
        seed="signature",
        artifactType="application/vnd.example.signature",
        subject=descriptor(manifest, OCI_MANIFEST),
    )
    run(server)
    assert west.referrers("app", subject) == [signature]
    assert sha256(west.pull("app", signature)) == signature


def test_a_sha512_digest_stays_the_images(server, source, west):
    source.replicate_to(west)
    put_image(source.api, "app", "v1")
    manifest = source.pull("app", "v1")
    digest = f"sha512:{hashlib.sha512(manifest).hexdigest()}"
    source.api.put_image(
        repositoryName="app", imageManifest=manifest.decode(), imageTag="long", imageDigest=digest
    )
    run(server)
    assert (digest, "long") in west.image_ids("app")
    assert west.pull("app", digest) == manifest


def test_only_repositories_with_a_prefix_are_copied(server, source, west, other, registry):
    east = registry(OWN, "us-east-2")
    for name in ("prod/web", "production", "test/web", "dev/prod"):
        source.api.create_repository(repositoryName=name)
    source.replicate(
        {
            "destinations": [west.destination],
            "repositoryFilters": [
                {"filter": "prod", "filterType": "PREFIX_MATCH"},
                {"filter": "test/", "filterType": "PREFIX_MATCH"},
            ],
        },
        {
            "destinations": [east.destination],
            "repositoryFilters": [{"filter": "prod/", "filterType": "PREFIX_MATCH"}],
        },
    )
    for name in ("app", "prod/web", "production", "test/web", "dev/prod"):
        put_image(source.api, name, "v1")
    run(server)
    names = [entry["repositoryName"] for entry in west.api.describe_repositories()["repositories"]]
    assert names == ["prod/web", "production", "test/web"]
    names = [entry["repositoryName"] for entry in east.api.describe_repositories()["repositories"]]
    assert names == ["prod/web"]
    assert source.status("prod/web", imageTag="v1") == {
        str(west): ("COMPLETE", None),
        str(east): ("COMPLETE", None),
    }
    assert source.status("app", imageTag="v1") == {}


def test_replicas_go_no_further(server, source, west, registry):
    south = registry(OWN, "sa-east-1")
    source.replicate_to(west)
    west.replicate_to(south, source)
    put_image(source.api, "app", "v1")
    run(server)
    assert west.image_ids("app")
    assert run(server) == 0
    assert south.image_ids("app") == set()
    assert west.status("app", imageTag="v1") == {}
    # What is pushed there itself does.
    own = put_image(west.api, "app", "own", seed="own")
    run(server)
    assert south.image_ids("app") == {(own, "own")}
    assert sha256(source.pull("app", "own")) == own


def test_an_immutable_tag_of_the_destination_stays(server, source, west):
    west.api.create_repository(repositoryName="app", imageTagMutability="IMMUTABLE")
    source.replicate_to(west)
    first = put_image(source.api, "app", "v1", seed="first")
    run(server)
    second = put_image(source.api, "app", "v1", seed="second")
    run(server)
    # The image comes without the tag (ECR user guide, Private image replication).
    assert west.image_ids("app") == {(first, "v1"), (second, None)}
    assert source.status("app", imageDigest=second) == {str(west): ("COMPLETE", None)}


def test_a_tag_that_was_taken_away_meanwhile_is_not_copied(server, source, west):
    source.replicate_to(west)
    digest = put_image(source.api, "app", "v1")
    put_image(source.api, "app", "v2")
    source.api.batch_delete_image(repositoryName="app", imageIds=[{"imageTag": "v1"}])
    run(server)
    assert west.image_ids("app") == {(digest, "v2")}


def test_an_image_that_is_gone_meanwhile_is_not_copied(server, source, west):
    source.replicate_to(west)
    put_image(source.api, "app", "v1")
    source.api.delete_repository(repositoryName="app", force=True)
    run_to_the_end(server)
    assert west.api.describe_repositories()["repositories"] == []


def test_an_image_without_its_layers_is_copied_as_it_is():
    settings = Settings(data_dir=MEMORY, port=0, engines="off", layer_check="off")
    with BackgroundServer(settings) as server:
        source, west = Registry(server, OWN, "us-east-1"), Registry(server, OWN, "us-west-2")
        source.api.create_repository(repositoryName="app")
        source.replicate_to(west)
        manifest = image_manifest(b"config", b"layer")
        source.api.put_image(repositoryName="app", imageManifest=manifest.decode(), imageTag="v1")
        run(server)
        assert west.image_ids("app") == {(sha256(manifest), "v1")}


# Other accounts


def test_another_account_has_to_let_the_source_in(server, source, other):
    source.replicate_to(other)
    other.set_policy(permit("ecr:ReplicateImage", "ecr:CreateRepository"))
    digest = put_image(source.api, "app", "v1")
    run(server)
    assert sha256(other.pull("app", "v1")) == digest
    assert source.status("app", imageTag="v1") == {str(other): ("COMPLETE", None)}


@pytest.mark.parametrize(
    "statements",
    [
        [],
        [permit("ecr:CreateRepository")],
        # Nobody may create the repository.
        [permit("ecr:ReplicateImage")],
        [permit("ecr:ReplicateImage", "ecr:CreateRepository", principal=f"arn:aws:iam::{OTHER}:root")],
        [
            permit(
                "ecr:ReplicateImage",
                "ecr:CreateRepository",
                Resource=f"arn:aws:ecr:us-east-1:{OTHER}:repository/web",
            )
        ],
        [
            permit("ecr:*"),
            permit("ecr:ReplicateImage", Effect="Deny"),
        ],
        # Replication has no aws:SourceAccount to compare with.
        [permit("ecr:*", Condition={"StringEquals": {"aws:SourceAccount": OWN}})],
    ],
)
def test_what_another_account_does_not_permit_fails_in_the_end(server, source, other, statements):
    source.replicate_to(other)
    if statements:
        other.set_policy(*statements)
    put_image(source.api, "app", "v1")
    run(server)
    for delay in RETRY_DELAYS:
        assert source.status("app", imageTag="v1") == {str(other): ("IN_PROGRESS", None)}
        server.advance_clock(delay + 1)
        run(server)
    assert source.status("app", imageTag="v1") == {str(other): ("FAILED", DENIED)}
    assert other.api.describe_repositories()["repositories"] == []
    server.advance_clock(86400)
    assert run(server) == 0


def test_a_repository_that_is_there_need_not_be_created(server, source, other):
    other.api.create_repository(repositoryName="app")
    other.set_policy(permit("ecr:ReplicateImage", principal=OWN))
    source.replicate_to(other)
    digest = put_image(source.api, "app", "v1")
    run(server)
    assert other.image_ids("app") == {(digest, "v1")}


def test_a_permission_that_comes_late_is_in_time_for_the_next_attempt(server, source, other, west):
    source.replicate_to(other, west)
    digest = put_image(source.api, "app", "v1")
    run(server)
    # One destination does not wait for the other.
    assert source.status("app", imageTag="v1") == {
        str(west): ("COMPLETE", None),
        str(other): ("IN_PROGRESS", None),
    }
    other.set_policy(permit("ecr:*"))
    assert run(server) == 0
    server.advance_clock(RETRY_DELAYS[0] + 1)
    run(server)
    assert sha256(other.pull_by_host("app", "v1")) == digest
    assert source.status("app", imageTag="v1")[str(other)] == ("COMPLETE", None)


def test_a_failure_of_one_tag_is_seen_until_the_tag_is_there(server, source, other):
    source.replicate_to(other)
    digest = put_image(source.api, "app", "v1")
    run_to_the_end(server)
    other.set_policy(permit("ecr:*"))
    put_image(source.api, "app", "v2")
    run(server)
    assert other.image_ids("app") == {(digest, "v2")}
    assert source.status("app", imageDigest=digest) == {str(other): ("FAILED", DENIED)}


def test_the_account_itself_can_refuse_its_other_region(server, source, west):
    statement = permit("ecr:ReplicateImage", Effect="Deny", Resource="*")
    west.set_policy(statement)
    source.replicate_to(west)
    put_image(source.api, "app", "v1")
    run_to_the_end(server)
    assert source.status("app", imageTag="v1") == {str(west): ("FAILED", DENIED)}


# Deletions


@pytest.fixture
def mirrored(server, source, west):
    """A source and a replica that follows its deletions, both with an image of two tags."""
    source.replicate_to(west, deleteReplication={"enabled": True})
    put_image(source.api, "app", "v1")
    digest = put_image(source.api, "app", "v2")
    run(server)
    assert west.image_ids("app") == {(digest, "v1"), (digest, "v2")}
    return digest


def delete(registry, **image_id):
    answer = registry.api.batch_delete_image(repositoryName="app", imageIds=[image_id])
    assert answer["failures"] == []


def test_deletions_stay_where_they_are_by_default(server, source, west):
    for members in ({}, {"deleteReplication": {"enabled": False}}):
        source.replicate_to(west, **members)
        digest = put_image(source.api, "app", "v1", seed=str(members))
        run(server)
        delete(source, imageDigest=digest)
        assert run(server) == 0
        assert sha256(west.pull("app", digest)) == digest


def test_a_tag_is_taken_away(server, source, west, mirrored):
    delete(source, imageTag="v1")
    run(server)
    assert west.image_ids("app") == {(mirrored, "v2")}


def test_an_image_goes_with_its_last_tag_and_all_tags_of_the_replica(server, source, west, mirrored):
    put_image(west.api, "app", "local")
    for tag in ("v1", "v2"):
        delete(source, imageTag=tag)
    run(server)
    assert west.image_ids("app") == set()
    with pytest.raises(LookupError):
        west.pull("app", mirrored)


def test_an_image_goes_by_digest(server, source, west, mirrored):
    delete(source, imageDigest=mirrored)
    run(server)
    assert west.image_ids("app") == set()


def test_what_a_lifecycle_policy_expires_goes_from_the_replica_too(server, source, west, mirrored):
    source.api.put_lifecycle_policy(
        repositoryName="app",
        lifecyclePolicyText=json.dumps(
            {
                "rules": [
                    {
                        "rulePriority": 1,
                        "selection": {
                            "tagStatus": "any",
                            "countType": "imageCountMoreThan",
                            "countNumber": 1,
                        },
                        "action": {"type": "expire"},
                    }
                ]
            }
        ),
    )
    newest = put_image(source.api, "app", "newest", seed="newest")
    server.manage("run/lifecycle", {})
    run(server)
    assert west.image_ids("app") == {(newest, "newest")}


def test_an_index_goes_before_its_images(server, source, west):
    source.replicate_to(west, deleteReplication={"enabled": True})
    index, children = put_index(source.api, "app", "multi")
    run(server)
    ids = [{"imageDigest": digest} for digest in (*children, index)]
    source.api.batch_delete_image(repositoryName="app", imageIds=ids)
    run(server)
    assert west.image_ids("app") == set()


def test_a_tag_that_the_replica_gave_to_another_image_stays(server, source, west, mirrored):
    local = put_image(west.api, "app", "v1", seed="local")
    delete(source, imageTag="v1")
    run(server)
    assert west.image_ids("app") == {(mirrored, "v2"), (local, "v1")}


def test_what_was_pushed_again_meanwhile_stays(server, source, west, mirrored):
    delete(source, imageDigest=mirrored)
    put_image(source.api, "app", "v3")
    run(server)
    assert west.image_ids("app") == {(mirrored, "v1"), (mirrored, "v2"), (mirrored, "v3")}
    delete(source, imageTag="v3")
    put_image(source.api, "app", "v4")
    run(server)
    assert (mirrored, "v4") in west.image_ids("app")


def test_an_image_that_only_the_replica_lists_is_given_up(server, source, west, mirrored):
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [descriptor(west.pull("app", mirrored), OCI_MANIFEST)],
        }
    )
    west.api.put_image(repositoryName="app", imageManifest=manifest, imageTag="list")
    delete(source, imageDigest=mirrored)
    run_to_the_end(server)
    assert sha256(west.pull("app", mirrored)) == mirrored
    server.advance_clock(86400)
    assert run(server) == 0


def test_replicated_deletions_go_no_further(server, source, west, registry, mirrored):
    south = registry(OWN, "sa-east-1")
    west.replicate_to(south, deleteReplication={"enabled": True})
    put_image(west.api, "app", "v3")
    run(server)
    assert south.image_ids("app") == {(mirrored, "v3")}
    delete(source, imageDigest=mirrored)
    run(server)
    assert west.image_ids("app") == set()
    assert south.image_ids("app") == {(mirrored, "v3")}


def test_a_deletion_needs_the_destinations_permission(server, source, other):
    other.set_policy(permit("ecr:*"))
    source.replicate_to(other, deleteReplication={"enabled": True})
    digest = put_image(source.api, "app", "v1")
    run(server)
    other.set_policy(permit("ecr:CreateRepository"))
    delete(source, imageDigest=digest)
    run_to_the_end(server)
    assert other.image_ids("app") == {(digest, "v1")}


def test_the_deletion_of_a_repository_stays_where_it_is(server, source, west, mirrored):
    source.api.delete_repository(repositoryName="app", force=True)
    run(server)
    assert sha256(west.pull("app", "v1")) == mirrored


# Status


def test_the_status_of_what_is_not_there(source):
    with pytest.raises(ApiError) as raised:
        source.status("absent", imageTag="v1")
    assert raised.value.code == "RepositoryNotFoundException"
    with pytest.raises(ApiError) as raised:
        source.status("app", imageTag="v1")
    assert raised.value.code == "ImageNotFoundException"
    assert raised.value.message == (
        "The image with imageId {imageDigest:'null', imageTag:'v1'} does not exist within the repository "
        f"with name 'app' in the registry with id '{OWN}'"
    )
    with pytest.raises(ApiError) as raised:
        source.status("app")
    assert raised.value.code == "InvalidParameterException"


def test_tasks_and_status_outlive_the_server(tmp_path):
    settings = Settings(data_dir=str(tmp_path), port=0, engines="off")
    with BackgroundServer(settings) as server:
        source, west = Registry(server, OWN, "us-east-1"), Registry(server, OWN, "us-west-2")
        other = Registry(server, OTHER, "us-east-1")
        source.api.create_repository(repositoryName="app")
        source.replicate_to(west, other)
        digest = put_image(source.api, "app", "v1")
    with BackgroundServer(settings) as server:
        source, west = Registry(server, OWN, "us-east-1"), Registry(server, OWN, "us-west-2")
        assert run(server) == 2
        assert sha256(west.pull("app", "v1")) == digest
        run_to_the_end(server)
    with BackgroundServer(settings) as server:
        source = Registry(server, OWN, "us-east-1")
        assert source.status("app", imageTag="v1") == {
            str(west): ("COMPLETE", None),
            str(other): ("FAILED", DENIED),
        }


def test_a_reset_of_the_source_leaves_nothing_to_copy(server, source, west):
    source.replicate_to(west)
    put_image(source.api, "app", "v1")
    server.manage("reset", {"account": OWN, "region": "us-east-1"})
    assert run(server) == 0
    assert source.call("DescribeRegistry")["replicationConfiguration"]["rules"] == []


def test_engines_that_are_on_need_not_be_told():
    with BackgroundServer(Settings(data_dir=MEMORY, port=0)) as server:
        source, west = Registry(server, OWN, "us-east-1"), Registry(server, OWN, "us-west-2")
        source.api.create_repository(repositoryName="app")
        source.replicate_to(west)
        put_image(source.api, "app", "v1")
        deadline = time.monotonic() + 30
        while source.status("app", imageTag="v1")[str(west)][0] != "COMPLETE":
            assert time.monotonic() < deadline
        west.pull("app", "v1")


def test_an_attempt_that_breaks_is_made_again_and_given_up_in_the_end(server, source, west, monkeypatch):
    def broken(*_arguments):
        raise RuntimeError("broken")

    source.replicate_to(west)
    put_image(source.api, "app", "v1")
    with monkeypatch.context() as patch:
        patch.setattr(replicas, "_copy_image", broken)
        run(server)
    assert source.status("app", imageTag="v1") == {str(west): ("IN_PROGRESS", None)}
    # The repository was created in the same transaction, which was undone.
    assert west.api.describe_repositories()["repositories"] == []
    server.advance_clock(RETRY_DELAYS[0] + 1)
    run(server)
    assert source.status("app", imageTag="v1") == {str(west): ("COMPLETE", None)}
    put_image(source.api, "app", "v2")
    monkeypatch.setattr(replicas, "_copy_image", broken)
    run_to_the_end(server)
    assert source.status("app", imageTag="v2") == {str(west): ("FAILED", "INTERNAL_ERROR")}


def test_what_is_pushed_while_the_clock_is_put_back_is_copied(server, source, west, monkeypatch):
    """Its time is that of its beginning, which then is to come again."""
    source.replicate_to(west)
    with monkeypatch.context() as patch:
        patch.setattr(server._running.emulator.clock, "now", lambda: time.time() + 30 * 24 * 3600)
        put_image(source.api, "app", "v1")
    run(server)
    assert source.status("app", imageTag="v1") == {str(west): ("COMPLETE", None)}
