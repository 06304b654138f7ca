"""Tags of resources: adding them to repositories, removing and listing them."""

import pytest

from .conftest import refused

ARN = "arn:aws:ecr:us-east-1:000000000000:repository/app"
OTHER_ARN = "arn:aws:ecr:us-east-1:000000000000:repository/other"


@pytest.fixture
def other(ecr, repository):
    """The ARN of another repository than ``repository``, whose ARN is ``ARN``."""
    return ecr.create_repository(repositoryName="other")["repository"]["repositoryArn"]


def pairs(**tags):
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def tags_of(ecr, arn=ARN):
    return {tag["Key"]: tag["Value"] for tag in ecr.list_tags_for_resource(resourceArn=arn)["tags"]}


def members_of(answer):
    return answer.keys() - {"ResponseMetadata"}


def test_tags_are_added_replaced_and_removed(ecr, other):
    assert ecr.list_tags_for_resource(resourceArn=ARN)["tags"] == []
    assert not members_of(ecr.tag_resource(resourceArn=ARN, tags=pairs(team="x", stage="dev")))
    ecr.tag_resource(resourceArn=ARN, tags=pairs(stage="prod", owner=""))
    assert tags_of(ecr) == {"team": "x", "stage": "prod", "owner": ""}
    assert not members_of(ecr.untag_resource(resourceArn=ARN, tagKeys=["team", "owner", "absent"]))
    assert tags_of(ecr) == {"stage": "prod"}
    assert tags_of(ecr, other) == {}


def test_tags_of_a_new_repository_are_its_first(ecr):
    tags = pairs(team="x")
    arn = ecr.create_repository(repositoryName="app", tags=tags)["repository"]["repositoryArn"]
    assert ecr.list_tags_for_resource(resourceArn=arn)["tags"] == tags


def test_adding_and_removing_nothing_is_allowed(ecr, repository):
    ecr.tag_resource(resourceArn=ARN, tags=pairs(team="x"))
    ecr.tag_resource(resourceArn=ARN, tags=[])
    ecr.untag_resource(resourceArn=ARN, tagKeys=[])
    assert tags_of(ecr) == {"team": "x"}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("k" * 128, "v" * 256),
        ("a b_c.d:e/f=g+h-i@j", ""),
        ("größe", "日本"),
        ("Team", "x"),
        ("awsome", "aws"),
    ],
)
def test_tags_have_letters_digits_and_some_signs(ecr, repository, key, value):
    ecr.tag_resource(resourceArn=ARN, tags=[{"Key": key, "Value": value}])
    assert tags_of(ecr) == {key: value}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("", "x"),
        ("k" * 129, "x"),
        ("k", "v" * 257),
        ("aws:team", "x"),
        ("AWS:team", "x"),
        ("a*b", "x"),
        ("k", "<x>"),
    ],
)
def test_other_tags_are_refused_and_none_is_added(ecr, repository, key, value):
    tags = [*pairs(good="x"), {"Key": key, "Value": value}]
    assert refused(ecr.tag_resource, resourceArn=ARN, tags=tags)[0] == "InvalidTagParameterException"
    assert tags_of(ecr) == {}


def test_a_repository_has_at_most_fifty_tags(ecr, repository):
    fifty = {f"key{number}": "x" for number in range(50)}
    ecr.tag_resource(resourceArn=ARN, tags=pairs(**fifty))
    assert refused(ecr.tag_resource, resourceArn=ARN, tags=pairs(one_more="x"))[0] == "TooManyTagsException"
    # Those that are there can change, and make room.
    ecr.tag_resource(resourceArn=ARN, tags=pairs(key0="y"))
    ecr.untag_resource(resourceArn=ARN, tagKeys=["key1"])
    ecr.tag_resource(resourceArn=ARN, tags=pairs(one_more="x"))
    assert len(tags_of(ecr)) == 50
    too_many = pairs(**{f"k{number}": "x" for number in range(51)})
    assert refused(ecr.tag_resource, resourceArn=ARN, tags=too_many)[0] == "TooManyTagsException"
    assert refused(ecr.create_repository, repositoryName="new", tags=too_many)[0] == "TooManyTagsException"


@pytest.mark.parametrize("key", ["", "k" * 129, "aws:team", "a*b"])
def test_a_tag_that_there_can_not_be_is_not_removed(ecr, repository, key):
    ecr.tag_resource(resourceArn=ARN, tags=pairs(good="x"))
    assert refused(ecr.untag_resource, resourceArn=ARN, tagKeys=["good", key])[0] == (
        "InvalidTagParameterException"
    )
    assert tags_of(ecr) == {"good": "x"}


def test_at_most_fifty_tags_are_removed_at_once(ecr, repository):
    keys = [f"key{number}" for number in range(51)]
    assert refused(ecr.untag_resource, resourceArn=ARN, tagKeys=keys)[0] == "TooManyTagsException"
    ecr.untag_resource(resourceArn=ARN, tagKeys=[*keys[:50], keys[0]])


OPERATIONS = {
    "tag_resource": {"tags": pairs(team="x")},
    "untag_resource": {"tagKeys": ["team"]},
    "list_tags_for_resource": {},
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_repository_has_to_be_there(ecr, repository, operation):
    for arn, name, account in (
        (OTHER_ARN, "other", "000000000000"),
        (ARN.replace("000000000000", "123456789012"), "app", "123456789012"),
    ):
        assert refused(getattr(ecr, operation), resourceArn=arn, **OPERATIONS[operation]) == (
            "RepositoryNotFoundException",
            f"The repository with name '{name}' does not exist in the registry with id '{account}'",
        )


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(
    "arn",
    [
        "",
        "app",
        "arn:aws:ecr:us-east-1:000000000000:repository/",
        "arn:aws:ecr:us-east-1:000000000000:app",
        "arn:aws:s3:us-east-1:000000000000:repository/app",
        "arn:aws:ecr:eu-west-1:000000000000:repository/app",
        "arn:aws-cn:ecr:us-east-1:000000000000:repository/app",
    ],
)
def test_other_arns_are_refused(ecr, repository, operation, arn):
    assert refused(getattr(ecr, operation), resourceArn=arn, **OPERATIONS[operation]) == (
        "InvalidParameterException",
        "Invalid parameter at 'resourceArn' failed to satisfy constraint: 'Invalid ARN'",
    )
