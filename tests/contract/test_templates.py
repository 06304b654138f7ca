"""Repository creation templates, and the repositories that a push creates by them."""

import hashlib
import json
import urllib.error
import urllib.request

import pytest

from tests.contract.conftest import OCI_MANIFEST, image_manifest, put_image, sha256

ROLE = "arn:aws:iam::000000000000:role/ecr"
KEY = "arn:aws:kms:us-east-1:000000000000:key/1234abcd-12ab-34cd-56ef-1234567890ab"
POLICY = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"AWS": "123456789012"}, "Action": ["ecr:BatchGetImage"]}
        ],
    }
)
LIFECYCLE_POLICY = json.dumps(
    {
        "rules": [
            {
                "rulePriority": 1,
                "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 10},
                "action": {"type": "expire"},
            }
        ]
    }
)
WHOLE = {
    "description": "what teams get",
    "encryptionConfiguration": {"encryptionType": "KMS", "kmsKey": KEY},
    "resourceTags": [{"Key": "team", "Value": "a"}],
    "imageTagMutability": "IMMUTABLE_WITH_EXCLUSION",
    "imageTagMutabilityExclusionFilters": [{"filterType": "WILDCARD", "filter": "dev-*"}],
    "repositoryPolicy": POLICY,
    "lifecyclePolicy": LIFECYCLE_POLICY,
    "appliedFor": ["CREATE_ON_PUSH", "REPLICATION"],
    "customRoleArn": ROLE,
}


def create(ecr, prefix, applied_for=("CREATE_ON_PUSH",), **members):
    answer = ecr.create_repository_creation_template(prefix=prefix, appliedFor=list(applied_for), **members)
    return answer["repositoryCreationTemplate"]


def http(server, method, path, body=b"", content_type="application/octet-stream"):
    """Send a request to /v2/ and return its status and, of an error, its code."""
    request = urllib.request.Request(
        f"{server.url}/v2/{path}", body, {"Content-Type": content_type}, method=method
    )
    try:
        with urllib.request.urlopen(request) as response:
            return response.status, None
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)["errors"][0]["code"]


def push_blob(server, name, content=b"{}"):
    return http(server, "POST", f"{name}/blobs/uploads/?digest={sha256(content)}", content)


def test_a_template_is_created_described_changed_and_deleted(ecr):
    made = ecr.create_repository_creation_template(prefix="team/", **WHOLE)
    assert made["registryId"] == "000000000000"
    template = made["repositoryCreationTemplate"]
    assert {name: template[name] for name in WHOLE} == WHOLE
    assert template["prefix"] == "team"
    assert template["createdAt"] == template["updatedAt"]
    described = ecr.describe_repository_creation_templates(prefixes=["team"])
    assert described["repositoryCreationTemplates"] == [template]
    changed = ecr.update_repository_creation_template(
        prefix="team", description="", imageTagMutability="MUTABLE", repositoryPolicy=""
    )["repositoryCreationTemplate"]
    gone = {"description", "imageTagMutabilityExclusionFilters", "repositoryPolicy"}
    assert changed == {
        **{name: value for name, value in template.items() if name not in gone},
        "imageTagMutability": "MUTABLE",
        "updatedAt": changed["updatedAt"],
    }
    deleted = ecr.delete_repository_creation_template(prefix="team")
    assert deleted["repositoryCreationTemplate"] == changed
    assert ecr.describe_repository_creation_templates()["repositoryCreationTemplates"] == []


def test_what_is_not_said_is_ecrs_default(ecr):
    template = create(ecr, "ROOT", ["PULL_THROUGH_CACHE", "PULL_THROUGH_CACHE"])
    del template["createdAt"], template["updatedAt"]
    assert template == {
        "prefix": "ROOT",
        "encryptionConfiguration": {"encryptionType": "AES256"},
        "resourceTags": [],
        "imageTagMutability": "MUTABLE",
        "appliedFor": ["PULL_THROUGH_CACHE"],
    }


def test_the_time_of_a_change_is_the_clocks(ecr, server):
    made = create(ecr, "team")
    server.advance_clock(3600)
    changed = ecr.update_repository_creation_template(prefix="team", description="x")
    times = changed["repositoryCreationTemplate"]
    assert times["createdAt"] == made["createdAt"]
    assert 3600 <= (times["updatedAt"] - made["updatedAt"]).total_seconds() < 3660


def test_templates_are_paged_by_prefix_in_one_registry(ecr):
    for prefix in ("b", "ROOT", "a/b", "a"):
        create(ecr, prefix)
    pages = ecr.get_paginator("describe_repository_creation_templates").paginate(
        PaginationConfig={"PageSize": 3}
    )
    listed = [[entry["prefix"] for entry in page["repositoryCreationTemplates"]] for page in pages]
    assert listed == [["ROOT", "a", "a/b"], ["b"]]
    named = ecr.describe_repository_creation_templates(prefixes=["b", "absent", "a/"], maxResults=1)
    assert [entry["prefix"] for entry in named["repositoryCreationTemplates"]] == ["a"]
    with pytest.raises(ecr.exceptions.InvalidParameterException, match="nextToken"):
        ecr.describe_repository_creation_templates(nextToken=named["nextToken"])


def test_a_prefix_has_one_template(ecr):
    create(ecr, "team")
    with pytest.raises(ecr.exceptions.TemplateAlreadyExistsException, match="'team'"):
        create(ecr, "team/")


def test_a_template_that_is_not_there_is_not_found(ecr):
    for operation in (ecr.update_repository_creation_template, ecr.delete_repository_creation_template):
        with pytest.raises(ecr.exceptions.TemplateNotFoundException, match="'absent'"):
            operation(prefix="absent")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"applied_for": []}, "appliedFor"),
        ({"imageTagMutability": "IMMUTABLE_WITH_EXCLUSION"}, "imageTagMutabilityExclusionFilters"),
        ({"encryptionConfiguration": {"encryptionType": "AES256", "kmsKey": KEY}}, "KMS key"),
        ({"resourceTags": [{"Key": "aws:x", "Value": ""}]}, "'resourceTags'"),
        ({"resourceTags": [{"Key": str(n), "Value": ""} for n in range(51)]}, "at most 50 tags"),
        ({"repositoryPolicy": "{}"}, "PolicyText"),
        ({"lifecyclePolicy": "{}"}, "LifecyclePolicyText"),
        ({"customRoleArn": "arn:aws:iam::111111111111:role/ecr"}, "customRoleArn"),
        ({"customRoleArn": "ecr"}, "customRoleArn"),
    ],
)
def test_a_template_that_could_not_be_applied_is_refused(ecr, members, message):
    with pytest.raises(ecr.exceptions.InvalidParameterException, match=message):
        create(ecr, "team", **members)
    assert ecr.describe_repository_creation_templates()["repositoryCreationTemplates"] == []


def test_a_change_is_checked_with_what_stays(ecr):
    made = create(
        ecr,
        "team",
        imageTagMutability="MUTABLE_WITH_EXCLUSION",
        imageTagMutabilityExclusionFilters=[{"filterType": "WILDCARD", "filter": "v*"}],
    )
    changed = ecr.update_repository_creation_template(
        prefix="team", imageTagMutability="IMMUTABLE_WITH_EXCLUSION"
    )["repositoryCreationTemplate"]
    kept = "imageTagMutabilityExclusionFilters"
    assert changed[kept] == made[kept]
    ecr.update_repository_creation_template(prefix="team", imageTagMutability="IMMUTABLE")
    with pytest.raises(ecr.exceptions.InvalidParameterException, match="imageTagMutabilityExclusionFilters"):
        ecr.update_repository_creation_template(prefix="team", imageTagMutability="IMMUTABLE_WITH_EXCLUSION")


def test_a_push_creates_the_repository_as_the_template_says(ecr, server):
    create(ecr, "ROOT")
    ecr.create_repository_creation_template(prefix="team", **WHOLE)
    assert push_blob(server, "team/app") == (201, None)
    (repository,) = ecr.describe_repositories()["repositories"]
    assert repository["repositoryName"] == "team/app"
    assert repository["imageTagMutability"] == "IMMUTABLE_WITH_EXCLUSION"
    assert repository["imageTagMutabilityExclusionFilters"] == WHOLE["imageTagMutabilityExclusionFilters"]
    assert repository["encryptionConfiguration"] == WHOLE["encryptionConfiguration"]
    tags = ecr.list_tags_for_resource(resourceArn=repository["repositoryArn"])["tags"]
    assert tags == WHOLE["resourceTags"]
    assert ecr.get_repository_policy(repositoryName="team/app")["policyText"] == POLICY
    lifecycle = ecr.get_lifecycle_policy(repositoryName="team/app")
    assert lifecycle["lifecyclePolicyText"] == LIFECYCLE_POLICY


def test_a_whole_image_is_pushed_to_a_repository_that_did_not_exist(ecr, server):
    create(ecr, "ROOT")
    config = b"{}"
    assert push_blob(server, "app", config) == (201, None)
    manifest = image_manifest(config)
    assert http(server, "PUT", "app/manifests/v1", manifest, OCI_MANIFEST) == (201, None)
    (image,) = ecr.describe_images(repositoryName="app")["imageDetails"]
    assert (image["imageDigest"], image["imageTags"]) == (sha256(manifest), ["v1"])


def test_the_api_creates_repositories_by_a_push_too(ecr):
    create(ecr, "ROOT")
    ecr.initiate_layer_upload(repositoryName="by-layer")
    index = json.dumps(
        {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []}
    )
    ecr.put_image(repositoryName="by-image", imageManifest=index, imageTag="v1")
    names = [entry["repositoryName"] for entry in ecr.describe_repositories()["repositories"]]
    assert names == ["by-image", "by-layer"]


def test_a_push_that_fails_creates_nothing(ecr, server):
    create(ecr, "ROOT")
    status = http(server, "PUT", "app/manifests/v1", image_manifest(b"absent"), OCI_MANIFEST)
    assert status == (404, "MANIFEST_BLOB_UNKNOWN")
    assert ecr.describe_repositories()["repositories"] == []


@pytest.mark.parametrize(
    ("prefix", "members"),
    [
        ("other", {}),
        ("team/app", {}),
        ("team", {"applied_for": ["PULL_THROUGH_CACHE", "REPLICATION"]}),
        # Tags and KMS need a role that ECR assumes (user guide, Repository creation role).
        ("team", {"resourceTags": [{"Key": "a", "Value": "b"}]}),
        ("team", {"encryptionConfiguration": {"encryptionType": "KMS"}}),
    ],
)
def test_without_a_template_that_fits_a_push_creates_nothing(ecr, server, prefix, members):
    create(ecr, prefix, **members)
    assert push_blob(server, "team/app") == (404, "NAME_UNKNOWN")
    with pytest.raises(ecr.exceptions.RepositoryNotFoundException):
        ecr.initiate_layer_upload(repositoryName="team/app")
    assert ecr.describe_repositories()["repositories"] == []


def test_a_template_for_another_case_does_not_hide_a_shorter_one(ecr, server):
    create(ecr, "team", imageTagMutability="IMMUTABLE")
    create(ecr, "team/a", ["REPLICATION"])
    assert push_blob(server, "team/a/app") == (201, None)
    (repository,) = ecr.describe_repositories()["repositories"]
    assert repository["imageTagMutability"] == "IMMUTABLE"


def test_what_exists_is_left_as_it_is(ecr, server):
    ecr.create_repository(repositoryName="team/app")
    create(ecr, "team", imageTagMutability="IMMUTABLE")
    put_image(ecr, "team/app", "v1")
    (repository,) = ecr.describe_repositories()["repositories"]
    assert repository["imageTagMutability"] == "MUTABLE"


def test_a_reading_request_creates_nothing(ecr, server):
    create(ecr, "ROOT")
    digest = f"sha256:{hashlib.sha256(b'x').hexdigest()}"
    for path in (f"app/blobs/{digest}", "app/manifests/v1", "app/tags/list"):
        assert http(server, "GET", path) == (404, "NAME_UNKNOWN")
    with pytest.raises(ecr.exceptions.RepositoryNotFoundException):
        ecr.batch_check_layer_availability(repositoryName="app", layerDigests=[digest])
    assert ecr.describe_repositories()["repositories"] == []


def test_a_reset_removes_templates(ecr, server):
    create(ecr, "ROOT")
    server.reset()
    assert ecr.describe_repository_creation_templates()["repositoryCreationTemplates"] == []
