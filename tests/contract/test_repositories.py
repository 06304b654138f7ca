"""Repositories: creating, describing and deleting them, and which tags of theirs can be overwritten."""

from datetime import UTC, datetime, timedelta

import pytest

from .conftest import image_manifest, put_image, refused, sha256, upload_layer

ACCOUNT = "000000000000"
NAME_PATTERN = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*"


def filters(*patterns):
    return [{"filterType": "WILDCARD", "filter": pattern} for pattern in patterns]


def not_found(name, account=ACCOUNT):
    return (
        "RepositoryNotFoundException",
        f"The repository with name '{name}' does not exist in the registry with id '{account}'",
    )


def test_a_new_repository_has_ecrs_defaults(server, ecr):
    before = datetime.now(UTC) - timedelta(seconds=1)
    created = ecr.create_repository(repositoryName="team/app")["repository"]
    assert before <= created.pop("createdAt") <= datetime.now(UTC)
    assert created == {
        "repositoryArn": "arn:aws:ecr:us-east-1:000000000000:repository/team/app",
        "registryId": ACCOUNT,
        "repositoryName": "team/app",
        "repositoryUri": f"{server.address}/team/app",
        "imageTagMutability": "MUTABLE",
        "imageScanningConfiguration": {"scanOnPush": False},
        "encryptionConfiguration": {"encryptionType": "AES256"},
    }


def test_a_repository_keeps_every_setting_it_is_created_with(ecr):
    settings = {
        "imageTagMutability": "IMMUTABLE_WITH_EXCLUSION",
        "imageTagMutabilityExclusionFilters": filters("dev-*", "latest"),
        "imageScanningConfiguration": {"scanOnPush": True},
        "encryptionConfiguration": {"encryptionType": "KMS", "kmsKey": "alias/mine"},
    }
    created = ecr.create_repository(
        repositoryName="app", registryId=ACCOUNT, tags=[{"Key": "team", "Value": "x"}], **settings
    )["repository"]
    assert {member: created[member] for member in settings} == settings
    assert ecr.describe_repositories()["repositories"] == [created]
    tags = ecr.list_tags_for_resource(resourceArn=created["repositoryArn"])["tags"]
    assert tags == [{"Key": "team", "Value": "x"}]


@pytest.mark.parametrize("kind", ["KMS", "KMS_DSSE"])
def test_the_managed_key_encrypts_where_none_is_named(ecr, kind):
    created = ecr.create_repository(repositoryName="app", encryptionConfiguration={"encryptionType": kind})
    encryption = created["repository"]["encryptionConfiguration"]
    assert encryption["encryptionType"] == kind
    assert encryption["kmsKey"].startswith("arn:aws:kms:us-east-1:000000000000:")


@pytest.mark.parametrize(
    "name", ["ab", "0-9", "a__b", "a---b", "a.b_c", "tags", "a/tags/list", "v2/x/manifests/blobs", "a" * 256]
)
def test_names_of_the_models_grammar_are_taken(ecr, name):
    ecr.create_repository(repositoryName=name)
    (found,) = ecr.describe_repositories(repositoryNames=[name])["repositories"]
    assert found["repositoryName"] == name


@pytest.mark.parametrize(
    ("name", "constraint"),
    [
        ("App", f"must satisfy regular expression '{NAME_PATTERN}'"),
        ("-app", f"must satisfy regular expression '{NAME_PATTERN}'"),
        ("app/", f"must satisfy regular expression '{NAME_PATTERN}'"),
        ("a//b", f"must satisfy regular expression '{NAME_PATTERN}'"),
        ("a___b", f"must satisfy regular expression '{NAME_PATTERN}'"),
        ("app\n", f"must satisfy regular expression '{NAME_PATTERN}'"),
        ("a" * 257, "Member must have length less than or equal to 256"),
    ],
)
def test_other_names_are_refused(ecr, name, constraint):
    assert refused(ecr.create_repository, repositoryName=name) == (
        "InvalidParameterException",
        f"Invalid parameter at 'repositoryName' failed to satisfy constraint: '{constraint}'",
    )
    assert ecr.describe_repositories()["repositories"] == []


def test_a_name_can_be_taken_once(ecr, repository):
    before = ecr.describe_repositories()["repositories"]
    assert refused(ecr.create_repository, repositoryName=repository, imageTagMutability="IMMUTABLE") == (
        "RepositoryAlreadyExistsException",
        "The repository with name 'app' already exists in the registry with id '000000000000'",
    )
    assert ecr.describe_repositories()["repositories"] == before


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        (
            {"encryptionConfiguration": {"encryptionType": "AES256", "kmsKey": "alias/mine"}},
            "InvalidParameterException",
        ),
        ({"imageTagMutability": "IMMUTABLE_WITH_EXCLUSION"}, "InvalidParameterException"),
        ({"imageTagMutabilityExclusionFilters": filters("a*")}, "InvalidParameterException"),
        ({"tags": [{"Key": "", "Value": "x"}]}, "InvalidTagParameterException"),
        ({"tags": [{"Key": "k" * 129, "Value": "x"}]}, "InvalidTagParameterException"),
        ({"tags": [{"Key": f"k{n}", "Value": "x"} for n in range(51)]}, "TooManyTagsException"),
    ],
)
def test_settings_that_do_not_hold_create_nothing(ecr, settings, code):
    assert refused(ecr.create_repository, repositoryName="app", **settings)[0] == code
    assert ecr.describe_repositories()["repositories"] == []


def test_repositories_are_listed_by_name(ecr):
    for name in ("zoo", "a/b", "app", "a-b"):
        ecr.create_repository(repositoryName=name)
    described = ecr.describe_repositories()
    assert [found["repositoryName"] for found in described["repositories"]] == ["a-b", "a/b", "app", "zoo"]
    assert "nextToken" not in described


def test_repositories_can_be_described_by_name(ecr):
    for name in ("one", "two", "three"):
        ecr.create_repository(repositoryName=name)
    described = ecr.describe_repositories(repositoryNames=["two", "one", "two"])["repositories"]
    assert [found["repositoryName"] for found in described] == ["two", "one"]
    assert refused(ecr.describe_repositories, repositoryNames=["one", "four"]) == not_found("four")


def test_names_and_pages_exclude_each_other(ecr, repository):
    for paging in ({"maxResults": 1}, {"nextToken": "x"}):
        code, _ = refused(ecr.describe_repositories, repositoryNames=[repository], **paging)
        assert code == "InvalidParameterException"


DIGEST = sha256(b"")
IMAGE_IDS = [{"imageTag": "v1"}]
# Every operation that works in a repository, with what it needs besides the repository's name.
NEED_A_REPOSITORY = {
    "delete_repository": {},
    "put_image_tag_mutability": {"imageTagMutability": "MUTABLE"},
    "initiate_layer_upload": {},
    "upload_layer_part": {
        "uploadId": "00000000-0000-0000-0000-000000000000",
        "partFirstByte": 0,
        "partLastByte": 0,
        "layerPartBlob": b"x",
    },
    "complete_layer_upload": {
        "uploadId": "00000000-0000-0000-0000-000000000000",
        "layerDigests": [DIGEST],
    },
    "batch_check_layer_availability": {"layerDigests": [DIGEST]},
    "get_download_url_for_layer": {"layerDigest": DIGEST},
    "put_image": {"imageManifest": image_manifest(b"").decode()},
    "batch_get_image": {"imageIds": IMAGE_IDS},
    "batch_delete_image": {"imageIds": IMAGE_IDS},
    "list_images": {},
    "describe_images": {},
}


@pytest.mark.parametrize("operation", NEED_A_REPOSITORY)
def test_a_repository_has_to_be_there(ecr, repository, operation):
    perform, members = getattr(ecr, operation), NEED_A_REPOSITORY[operation]
    assert refused(perform, repositoryName="absent", **members) == not_found("absent")
    elsewhere = {"repositoryName": repository, "registryId": "123456789012"}
    assert refused(perform, **elsewhere, **members) == not_found(repository, "123456789012")


def test_deleting_a_repository_describes_it_once_more(ecr, repository):
    (described,) = ecr.describe_repositories()["repositories"]
    deleted = ecr.delete_repository(repositoryName=repository)["repository"]
    gone = ("imageScanningConfiguration", "encryptionConfiguration")
    assert deleted == {member: value for member, value in described.items() if member not in gone}
    assert ecr.describe_repositories()["repositories"] == []
    assert refused(ecr.delete_repository, repositoryName=repository) == not_found(repository)


@pytest.mark.parametrize("force", [{}, {"force": False}])
def test_a_repository_with_images_is_deleted_only_by_force(ecr, repository, force):
    digest = put_image(ecr, repository)
    assert refused(ecr.delete_repository, repositoryName=repository, **force) == (
        "RepositoryNotEmptyException",
        "The repository with name 'app' in registry with id '000000000000' cannot be deleted because it "
        "still contains images",
    )
    assert ecr.list_images(repositoryName=repository)["imageIds"] == [{"imageDigest": digest}]
    ecr.delete_repository(repositoryName=repository, force=True)
    assert ecr.describe_repositories()["repositories"] == []


def test_layers_and_uploads_do_not_keep_a_repository(ecr, repository):
    upload_layer(ecr, repository, b"layer")
    ecr.initiate_layer_upload(repositoryName=repository)
    ecr.delete_repository(repositoryName=repository)
    assert ecr.describe_repositories()["repositories"] == []


def test_nothing_of_a_deleted_repository_comes_back_with_its_name(ecr):
    created = ecr.create_repository(
        repositoryName="app", imageTagMutability="IMMUTABLE", tags=[{"Key": "team", "Value": "x"}]
    )["repository"]
    put_image(ecr, "app", "v1")
    upload_id = ecr.initiate_layer_upload(repositoryName="app")["uploadId"]
    ecr.delete_repository(repositoryName="app", force=True)
    again = ecr.create_repository(repositoryName="app")["repository"]
    assert again["imageTagMutability"] == "MUTABLE"
    assert ecr.list_tags_for_resource(resourceArn=created["repositoryArn"])["tags"] == []
    assert ecr.list_images(repositoryName="app")["imageIds"] == []
    (layer,) = ecr.batch_check_layer_availability(repositoryName="app", layerDigests=[sha256(b"layer seed")])[
        "layers"
    ]
    assert layer["layerAvailability"] == "UNAVAILABLE"
    code, _ = refused(
        ecr.complete_layer_upload, repositoryName="app", uploadId=upload_id, layerDigests=[DIGEST]
    )
    assert code == "UploadNotFoundException"


@pytest.mark.parametrize(
    ("mutability", "patterns", "movable", "fixed"),
    [
        ("MUTABLE", (), ["v1", "latest"], []),
        ("IMMUTABLE", (), [], ["v1", "latest"]),
        ("IMMUTABLE_WITH_EXCLUSION", ("latest", "dev-*"), ["latest", "dev-", "dev-1"], ["v1", "latest2"]),
        ("MUTABLE_WITH_EXCLUSION", ("v*", "*-rc*"), ["latest", "1-r"], ["v", "v1", "1-rc", "x-rc2"]),
        ("IMMUTABLE_WITH_EXCLUSION", ("*",), ["v1", "latest"], []),
        ("MUTABLE_WITH_EXCLUSION", ("a.c",), ["abc"], ["a.c"]),
    ],
)
def test_mutability_decides_which_tags_move(ecr, repository, mutability, patterns, movable, fixed):
    exclusions = {"imageTagMutabilityExclusionFilters": filters(*patterns)} if patterns else {}
    answer = ecr.put_image_tag_mutability(
        repositoryName=repository, registryId=ACCOUNT, imageTagMutability=mutability, **exclusions
    )
    answer.pop("ResponseMetadata")
    settings = {"imageTagMutability": mutability, **exclusions}
    assert answer == {"registryId": ACCOUNT, "repositoryName": repository, **settings}
    (described,) = ecr.describe_repositories()["repositories"]
    assert settings.items() <= described.items()
    for tag in (*movable, *fixed):
        put_image(ecr, repository, tag, seed="first")
    second = put_image(ecr, repository, seed="second")
    manifest = ecr.batch_get_image(repositoryName=repository, imageIds=[{"imageDigest": second}])
    for tag in movable:
        put_image(ecr, repository, tag, seed="second")
    for tag in fixed:
        assert refused(
            ecr.put_image,
            repositoryName=repository,
            imageTag=tag,
            imageManifest=manifest["images"][0]["imageManifest"],
        ) == (
            "ImageTagAlreadyExistsException",
            f"The image tag '{tag}' already exists in the 'app' repository and cannot be overwritten "
            "because the tag is immutable.",
        )
    tags = {
        entry["imageTag"]: entry["imageDigest"]
        for entry in ecr.list_images(repositoryName=repository)["imageIds"]
        if "imageTag" in entry
    }
    assert {tag for tag, digest in tags.items() if digest == second} == set(movable)
    assert tags.keys() == {*movable, *fixed}


def test_an_immutable_tag_is_free_again_once_it_is_deleted(ecr, repository):
    ecr.put_image_tag_mutability(repositoryName=repository, imageTagMutability="IMMUTABLE")
    put_image(ecr, repository, "v1", seed="first")
    ecr.batch_delete_image(repositoryName=repository, imageIds=[{"imageTag": "v1"}])
    second = put_image(ecr, repository, "v1", seed="second")
    assert ecr.list_images(repositoryName=repository)["imageIds"] == [
        {"imageDigest": second, "imageTag": "v1"}
    ]


def test_mutability_can_be_set_back(ecr, repository):
    def put(mutability, **exclusions):
        ecr.put_image_tag_mutability(repositoryName=repository, imageTagMutability=mutability, **exclusions)
        (described,) = ecr.describe_repositories()["repositories"]
        return described["imageTagMutability"], described.get("imageTagMutabilityExclusionFilters")

    put_image(ecr, repository, "v1", seed="first")
    kept = filters("v*")
    modes = ("IMMUTABLE_WITH_EXCLUSION", "MUTABLE_WITH_EXCLUSION")
    for mode in modes:
        assert put(mode, imageTagMutabilityExclusionFilters=kept) == (mode, kept)
    assert put("IMMUTABLE") == ("IMMUTABLE", None)
    assert put("MUTABLE") == ("MUTABLE", None)
    put_image(ecr, repository, "v1", seed="second")


@pytest.mark.parametrize(
    ("mutability", "patterns"),
    [
        ("MUTABLE", ["a"]),
        ("IMMUTABLE", ["a"]),
        ("MUTABLE_WITH_EXCLUSION", None),
        ("IMMUTABLE_WITH_EXCLUSION", None),
        ("IMMUTABLE_WITH_EXCLUSION", ["a*b*c*"]),
        ("IMMUTABLE_WITH_EXCLUSION", ["a", "b", "c", "d", "e", "f"]),
        ("IMMUTABLE_WITH_EXCLUSION", ["a" * 129]),
        ("IMMUTABLE_WITH_EXCLUSION", ["a b"]),
    ],
)
def test_filters_have_to_fit_the_mutability(ecr, repository, mutability, patterns):
    before = ecr.describe_repositories()["repositories"]
    exclusions = {} if patterns is None else {"imageTagMutabilityExclusionFilters": filters(*patterns)}
    code, message = refused(
        ecr.put_image_tag_mutability,
        repositoryName=repository,
        imageTagMutability=mutability,
        **exclusions,
    )
    assert code == "InvalidParameterException"
    assert message.startswith("Invalid parameter at 'imageTagMutabilityExclusionFilters")
    assert ecr.describe_repositories()["repositories"] == before


def test_repositories_are_there_after_a_reset_of_another_registry_only(server, ecr, repository):
    server.manage("reset", {"account": "123456789012"})
    server.manage("reset", {"region": "eu-west-1"})
    assert len(ecr.describe_repositories()["repositories"]) == 1
    server.manage("reset", {"account": ACCOUNT, "region": "us-east-1"})
    assert ecr.describe_repositories()["repositories"] == []


def test_created_at_follows_the_servers_clock(server, ecr):
    server.manage("clock", {"now": "2030-01-31T12:00:00Z"})
    created = ecr.create_repository(repositoryName="app")["repository"]
    assert created["createdAt"].astimezone(UTC).replace(second=0, microsecond=0) == datetime(
        2030, 1, 31, 12, tzinfo=UTC
    )
