"""Repository policies and lifecycle policies: texts are kept, returned, removed and validated."""

import json

import pytest

POLICY = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "pull",
                "Effect": "Allow",
                "Principal": {"AWS": "arn:aws:iam::123456789012:root"},
                "Action": ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
            }
        ],
    }
)
LIFECYCLE_POLICY = json.dumps(
    {
        "rules": [
            {
                "rulePriority": 1,
                "description": "keep ten",
                "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 10},
                "action": {"type": "expire"},
            }
        ]
    }
)

SUBJECTS = {
    "repository policy": (
        "set_repository_policy",
        "get_repository_policy",
        "delete_repository_policy",
        "policyText",
        POLICY,
        "RepositoryPolicyNotFoundException",
        "Repository policy",
    ),
    "lifecycle policy": (
        "put_lifecycle_policy",
        "get_lifecycle_policy",
        "delete_lifecycle_policy",
        "lifecyclePolicyText",
        LIFECYCLE_POLICY,
        "LifecyclePolicyNotFoundException",
        "Lifecycle policy",
    ),
}


@pytest.fixture(params=SUBJECTS, ids=str)
def subject(request):
    return SUBJECTS[request.param]


def test_a_policy_is_kept_replaced_returned_and_removed(ecr, repository, subject):
    put, get, delete, member, text, not_found, noun = subject
    for given in (text, text.replace("1", "2", 1) if "rulePriority" in text else text.replace("pull", "p")):
        answer = getattr(ecr, put)(repositoryName=repository, **{member: given})
        assert (answer["registryId"], answer["repositoryName"]) == ("000000000000", repository)
        assert answer[member] == given
        assert getattr(ecr, get)(repositoryName=repository)[member] == given
    removed = getattr(ecr, delete)(repositoryName=repository)
    assert removed[member] == given
    for gone in (get, delete):
        with pytest.raises(ecr.exceptions.ClientError) as raised:
            getattr(ecr, gone)(repositoryName=repository)
        assert raised.value.response["Error"] == {
            "Code": not_found,
            "Message": f"{noun} does not exist for the repository with name 'app' in the registry with id "
            "'000000000000'",
        }


def test_a_policy_needs_its_repository(ecr, subject):
    put, get, delete, member, text, *_ = subject
    for operation, members in ((put, {member: text}), (get, {}), (delete, {})):
        with pytest.raises(ecr.exceptions.RepositoryNotFoundException):
            getattr(ecr, operation)(repositoryName="absent", **members)


def test_a_policy_ends_with_its_repository(ecr, repository, subject):
    put, get, _, member, text, not_found, _ = subject
    getattr(ecr, put)(repositoryName=repository, **{member: text})
    ecr.delete_repository(repositoryName=repository)
    ecr.create_repository(repositoryName=repository)
    with pytest.raises(ecr.exceptions.ClientError, match=not_found):
        getattr(ecr, get)(repositoryName=repository)


@pytest.mark.parametrize(
    ("subject_name", "text", "message"),
    [
        (
            "repository policy",
            '{"Version": "2012-10-17"}',
            "Invalid parameter at 'PolicyText' failed to satisfy constraint: "
            "'Invalid repository policy provided'",
        ),
        (
            "lifecycle policy",
            LIFECYCLE_POLICY.replace("expire", "explode"),
            "Invalid parameter at 'LifecyclePolicyText' failed to satisfy constraint: 'Lifecycle policy "
            "validation failure: instance failed to match exactly one schema (matched 0 out of 2)\n'",
        ),
    ],
)
def test_a_malformed_text_is_refused_and_changes_nothing(ecr, repository, subject_name, text, message):
    put, get, _, member, good, *_ = SUBJECTS[subject_name]
    getattr(ecr, put)(repositoryName=repository, **{member: good})
    with pytest.raises(ecr.exceptions.InvalidParameterException) as raised:
        getattr(ecr, put)(repositoryName=repository, **{member: text})
    assert raised.value.response["Error"]["Message"] == message
    assert getattr(ecr, get)(repositoryName=repository)[member] == good


def test_a_lifecycle_policy_that_was_never_run_has_no_evaluation_time(ecr, repository):
    ecr.put_lifecycle_policy(repositoryName=repository, lifecyclePolicyText=LIFECYCLE_POLICY)
    assert "lastEvaluatedAt" not in ecr.get_lifecycle_policy(repositoryName=repository)
