"""Lifecycle policies: which texts are refused and how, and what a policy does to images.

Images and policies of the worked examples are those of the ECR user guide, "Examples of lifecycle policies
in Amazon ECR" and "Automate the cleanup of images by using lifecycle policies".
"""

import json
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from importlib import resources
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from msgspec.structs import replace

from ecr_emulator.core.errors import InvalidParameterException
from ecr_emulator.core.lifecycle import (
    LifecycleAction,
    LifecycleImage,
    LifecyclePolicy,
    LifecycleRule,
    evaluate,
    parse,
)

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
EXPIRE = {"type": "expire"}
ARCHIVE = {"type": "transition", "targetStorageClass": "archive"}
COUNT = {"countType": "imageCountMoreThan", "countNumber": 1}
UNMAPPABLE = "Could not map policyString into LifecyclePolicy."


def rule(priority: int = 1, action: Any = EXPIRE, **selection: Any) -> dict[str, Any]:
    """Write a rule as JSON; without a selection it keeps one untagged image."""
    return {
        "rulePriority": priority,
        "selection": selection or {"tagStatus": "untagged", **COUNT},
        "action": action,
    }


def policy_text(*rules: Any) -> str:
    """Write the policy of some rules."""
    return json.dumps({"rules": rules})


def older_than(days: int, tag_status: str = "any", **selection: Any) -> dict[str, Any]:
    """Select images pushed more than some days ago."""
    return {
        "tagStatus": tag_status,
        "countType": "sinceImagePushed",
        "countUnit": "days",
        "countNumber": days,
        **selection,
    }


def archived_for(days: int, tag_status: str = "any", **selection: Any) -> dict[str, Any]:
    """Select images archived more than some days ago."""
    return {
        **older_than(days, tag_status),
        "countType": "sinceImageTransitioned",
        "storageClass": "archive",
        **selection,
    }


def tagged(*patterns: str, **selection: Any) -> dict[str, Any]:
    """Select the newest images with tags for all patterns."""
    return {"tagStatus": "tagged", "tagPatternList": patterns, **COUNT, **selection}


def ago(days: float) -> datetime:
    """Go some days back."""
    return NOW - timedelta(days=days)


def image(digest: str, days: float, *tags: str, **more: Any) -> LifecycleImage:
    """Make an image pushed some days ago."""
    return LifecycleImage(digest, tags, ago(days), **more)


def acted(text: str, images: Iterable[LifecycleImage]) -> dict[str, int]:
    """Tell which images a policy acts on, and by which rule."""
    return {action.digest: action.rule_priority for action in evaluate(parse(text), images, NOW)}


def without(document: dict[str, Any], *path: str) -> dict[str, Any]:
    """Copy a document without one of its properties."""
    copy = json.loads(json.dumps(document))
    target = copy
    for name in path[:-1]:
        target = target[name]
    del target[path[-1]]
    return copy


# The text


def test_a_policy_is_read_into_rules_by_priority() -> None:
    """Rules come out sorted, with defaults filled in and the API's words for actions and classes."""
    text = policy_text(
        rule(7, **archived_for(90)) | {"description": "last"},
        rule(5, ARCHIVE, **older_than(30)),
        rule(2, tagStatus="tagged", tagPrefixList=["prod", "v"], **COUNT),
    )
    assert parse(text) == LifecyclePolicy(
        (
            LifecycleRule(2, "tagged", "imageCountMoreThan", 1, tag_prefixes=("prod", "v")),
            LifecycleRule(5, "any", "sinceImagePushed", 30, "TRANSITION", "ARCHIVE"),
            LifecycleRule(
                7, "any", "sinceImageTransitioned", 90, storage_class="ARCHIVE", description="last"
            ),
        )
    )


@pytest.mark.parametrize(
    "rules",
    [
        [rule()],
        [rule(10, **tagged("*test*1*2*3", "test*1*2*3*"))],
        [rule(1, **tagged("a*")), rule(2, **older_than(1, "untagged")), rule(3, **older_than(1))],
        [rule(1, ARCHIVE, **older_than(90, countType="sinceImagePulled"))],
        [rule(1, ARCHIVE, **older_than(30)), rule(2, **archived_for(365))],
        [rule(1, ARCHIVE, **older_than(30, "untagged")), rule(2, **archived_for(90, "untagged"))],
        [rule(1, **tagged("a*")), rule(2, **tagged("a*", countNumber=2))],
        [rule(1, **older_than(1, storageClass="standard"))],
        [rule(priority, **tagged(f"{priority}*")) for priority in range(1, 51)],
        [{**rule(), "description": ""}],
        [{**rule(), "rulePriority": 1.0}],
        [rule(2**31 - 1, **older_than(2**31 - 1))],
    ],
)
def test_texts_that_the_guide_allows(rules: list[Any]) -> None:
    """What the guide shows or allows is accepted."""
    assert len(parse(policy_text(*rules)).rules) == len(rules)


MISSING = "object has missing required properties"
EXTRA = "object instance has properties which are not allowed by the schema:"
ONE_OF_4 = "instance failed to match exactly one schema (matched 0 out of 4)"
ONE_OF_2 = "instance failed to match exactly one schema (matched 0 out of 2)"
NO_INTEGER = 'does not match any allowed primitive type (allowed: ["integer"])'


def refusal(text: str) -> str:
    """Return with what a text is refused, without what every refusal has."""
    with pytest.raises(InvalidParameterException) as caught:
        parse(text)
    begin = (
        "Invalid parameter at 'LifecyclePolicyText' failed to satisfy constraint: "
        "'Lifecycle policy validation failure: "
    )
    message = caught.value.message
    assert message.startswith(begin)
    assert message.endswith("'")
    return message.removeprefix(begin)[:-1]


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        # required properties
        ("{}", f'{MISSING} (["rules"])'),
        (policy_text({}), f'{MISSING} (["action","rulePriority","selection"])'),
        (policy_text(without(rule(), "rulePriority")), f'{MISSING} (["rulePriority"])'),
        (policy_text(without(rule(), "selection")), f'{MISSING} (["selection"])'),
        (policy_text(without(rule(), "action")), f'{MISSING} (["action"])'),
        (policy_text(without(rule(), "action", "type")), f'{MISSING} (["type"])'),
        (policy_text(without(rule(), "selection", "tagStatus")), f'{MISSING} (["tagStatus"])'),
        (policy_text(without(rule(), "selection", "countType")), f'{MISSING} (["countType"])'),
        (policy_text(without(rule(), "selection", "countNumber")), f'{MISSING} (["countNumber"])'),
        # other properties
        (json.dumps({"rules": [rule()], "version": 1}), f'{EXTRA} ["version"]'),
        (policy_text({**rule(), "z": 1, "b": 1}), f'{EXTRA} ["b","z"]'),
        (policy_text(rule(1, {**EXPIRE, "x": 1})), f'{EXTRA} ["x"]'),
        (policy_text(rule(1, **older_than(1), x=1)), f'{EXTRA} ["x"]'),
        (policy_text(rule(1, **older_than(1), **{"\ud800": 1})), f'{EXTRA} ["\\ud800"]'),
        # types
        (
            json.dumps({"rules": {}}),
            'instance type (object) does not match any allowed primitive type (allowed: ["array"])',
        ),
        (
            policy_text("rule"),
            'instance type (string) does not match any allowed primitive type (allowed: ["object"])',
        ),
        (
            policy_text({**rule(), "description": None}),
            'instance type (null) does not match any allowed primitive type (allowed: ["string"])',
        ),
        (
            policy_text(rule(1, "expire")),
            'instance type (string) does not match any allowed primitive type (allowed: ["object"])',
        ),
        (policy_text({**rule(), "rulePriority": True}), f"instance type (boolean) {NO_INTEGER}"),
        (policy_text({**rule(), "rulePriority": "1"}), f"instance type (string) {NO_INTEGER}"),
        (policy_text(rule(1, **older_than(1, countNumber=1.5))), f"instance type (number) {NO_INTEGER}"),
        (
            policy_text(rule(1, **tagged(tagPatternList="prod*"))),
            'instance type (string) does not match any allowed primitive type (allowed: ["array"])',
        ),
        (
            policy_text(rule(1, **tagged(tagPatternList=[1]))),
            'instance type (integer) does not match any allowed primitive type (allowed: ["string"])',
        ),
        # values
        (
            policy_text(rule(1, tagStatus="unknown", **COUNT)),
            'instance value ("unknown") not found in enum (possible values: ["any","tagged","untagged"])',
        ),
        (
            policy_text(rule(1, tagStatus=None, **COUNT)),
            'instance value (null) not found in enum (possible values: ["any","tagged","untagged"])',
        ),
        (
            policy_text(rule(1, {**ARCHIVE, "targetStorageClass": "standard"})),
            'instance value ("standard") not found in enum (possible values: ["archive"])',
        ),
        (
            policy_text(rule(1, **older_than(1, countUnit="hours"))),
            'instance value ("hours") not found in enum (possible values: ["days"])',
        ),
        (
            policy_text(rule(1, **older_than(1, storageClass="glacier"))),
            'instance value ("glacier") not found in enum (possible values: ["archive","standard"])',
        ),
        (
            policy_text(rule(1, **older_than(0))),
            "numeric instance is lower than the required minimum (minimum: 1, found: 0)",
        ),
        (
            policy_text(rule(-1)),
            "numeric instance is lower than the required minimum (minimum: 1, found: -1)",
        ),
        (
            policy_text(rule(1, **older_than(2**31))),
            "numeric instance is greater than the required maximum (maximum: 2147483647, found: 2147483648)",
        ),
        (
            policy_text(),
            "array is too short: must have at least 1 elements but instance has 0 elements",
        ),
        (
            policy_text(*[rule(priority, **tagged(f"{priority}*")) for priority in range(1, 52)]),
            "array is too long: must have at most 50 elements but instance has 51 elements",
        ),
        (
            policy_text(rule(1, **tagged())),
            "array is too short: must have at least 1 elements but instance has 0 elements",
        ),
        # count types with their units and storage classes
        (policy_text(rule(1, tagStatus="any", countType="newest", countNumber=1)), ONE_OF_4),
        (policy_text(rule(1, tagStatus="any", **COUNT, countUnit="days")), ONE_OF_4),
        (policy_text(without(rule(1, **older_than(1)), "selection", "countUnit")), ONE_OF_4),
        (
            policy_text(
                without(rule(1, **older_than(1, countType="sinceImagePulled")), "selection", "countUnit")
            ),
            ONE_OF_4,
        ),
        (policy_text(without(rule(1, **archived_for(90)), "selection", "countUnit")), ONE_OF_4),
        (policy_text(without(rule(1, **archived_for(90)), "selection", "storageClass")), ONE_OF_4),
        (policy_text(rule(1, **archived_for(90, storageClass="standard"))), ONE_OF_4),
        # actions with their storage classes; a choice that fails hides what is within it
        (policy_text(rule(1, {**EXPIRE, "targetStorageClass": "archive"})), ONE_OF_2),
        (policy_text(rule(1, {**EXPIRE, "targetStorageClass": None})), ONE_OF_2),
        (policy_text(rule(1, {"type": "delete"})), ONE_OF_2),
        (policy_text(without(rule(1, **older_than(0)), "selection", "countUnit")), ONE_OF_4),
    ],
)
def test_texts_that_are_not_as_the_schema_has_them(text: str, failure: str) -> None:
    """Each failure is on a line of its own, in the words of ECR's validator."""
    assert refusal(text) == f"{failure}\n"


NO_LIST = 'instance type (null) does not match any allowed primitive type (allowed: ["array"])'


@pytest.mark.parametrize(
    ("text", "failures"),
    [
        # in one value, by keyword
        (policy_text({**without(rule(), "action"), "x": 1}), [f'{EXTRA} ["x"]', f'{MISSING} (["action"])']),
        (
            policy_text(rule()).replace('"countNumber": 1', '"countNumber": 1e999'),
            [
                "numeric instance is greater than the required maximum "
                "(maximum: 2147483647, found: Infinity)",
                f"instance type (number) {NO_INTEGER}",
            ],
        ),
        (
            policy_text(rule(1, tagStatus="any", countType="newest", countNumber=1, x=1)),
            [f'{EXTRA} ["x"]', ONE_OF_4],
        ),
        # beside each other, by name
        (policy_text(rule(1, **tagged(tagPatternList=None, tagPrefixList=None))), [NO_LIST, NO_LIST]),
        (
            policy_text(rule(1, tagStatus="all", countType="imageCountMoreThan", countNumber=0)),
            [
                "numeric instance is lower than the required minimum (minimum: 1, found: 0)",
                'instance value ("all") not found in enum (possible values: ["any","tagged","untagged"])',
            ],
        ),
        # beside what failed further in, and not within that
        (
            policy_text(without(rule(), "action", "type"), "no rule", rule(0)),
            [
                f'{MISSING} (["type"])',
                'instance type (string) does not match any allowed primitive type (allowed: ["object"])',
            ],
        ),
        (
            policy_text({**rule(-1, "expire"), "selection": {}}),
            [
                'instance type (string) does not match any allowed primitive type (allowed: ["object"])',
                "numeric instance is lower than the required minimum (minimum: 1, found: -1)",
                f'{MISSING} (["countNumber","countType","tagStatus"])',
            ],
        ),
        # before what is further out, where that comes later
        (
            policy_text(rule(1, **tagged(tagPatternList=[1, 2])), {}),
            [
                'instance type (integer) does not match any allowed primitive type (allowed: ["string"])',
                'instance type (integer) does not match any allowed primitive type (allowed: ["string"])',
                f'{MISSING} (["action","rulePriority","selection"])',
            ],
        ),
    ],
)
def test_texts_with_several_failures(text: str, failures: list[str]) -> None:
    """Those that ECR's validator comes to are all told."""
    assert refusal(text) == "".join(f"{failure}\n" for failure in failures)


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        # not an object
        ("", UNMAPPABLE),
        ("nonsense", UNMAPPABLE),
        ('"rules"', UNMAPPABLE),
        ("[]", UNMAPPABLE),
        ("null", UNMAPPABLE),
        (policy_text(rule()) + "x", UNMAPPABLE),
        ("\ufeff" + policy_text(rule()), UNMAPPABLE),
        # JSON that two readers may take for two policies, or not at all
        (policy_text(rule()).replace('"countNumber": 1', '"countNumber": NaN'), UNMAPPABLE),
        (policy_text(rule()).replace('"countNumber": 1', '"countNumber": -Infinity'), UNMAPPABLE),
        (policy_text(rule()).replace('"countNumber": 1', '"countNumber": 1, "countNumber": 2'), UNMAPPABLE),
        (policy_text(rule()).replace('"countNumber": 1', '"countNumber": ' + "1" * 5000), UNMAPPABLE),
        ("[" * 200_000, UNMAPPABLE),
        ('{"rules":' * 200_000, UNMAPPABLE),
        (
            policy_text(rule(1, **older_than(1, storageClass="archive"))),
            "SINCE_IMAGE_PUSHED, SINCE_IMAGE_PULLED and IMAGE_COUNT_MORE_THAN support the STANDARD storage "
            "class only.",
        ),
        # count types with their actions
        (policy_text(rule(1, {"type": "transition"})), UNMAPPABLE),
        (
            policy_text(rule(1, **older_than(1, countType="sinceImagePulled"))),
            "SINCE_IMAGE_PULLED supports the TRANSITION action only.",
        ),
        (
            policy_text(rule(1, ARCHIVE, **archived_for(90))),
            "SINCE_IMAGE_TRANSITIONED supports the EXPIRE action only.",
        ),
        (
            policy_text(rule(1, **archived_for(89))),
            "SINCE_IMAGE_TRANSITIONED requires a countNumber of at least 90.",
        ),
        # tags
        (
            policy_text(rule(1, tagStatus="tagged", **COUNT)),
            "Must specify tagPrefixList or tagPatternList when tagStatus=TAGGED.",
        ),
        (
            policy_text(rule(1, **tagged("a*", tagPrefixList=["a"]))),
            "If policy has a tagged rule, it must specify only one of tagPrefixList or tagPatternList.",
        ),
        (
            policy_text(rule(1, **tagged("a*", tagStatus="untagged"))),
            "Cannot specify tagPatternList with tagStatus UNTAGGED.",
        ),
        (
            policy_text(rule(1, tagStatus="any", tagPrefixList=["a"], **COUNT)),
            "Cannot specify tagPrefixList with tagStatus ANY.",
        ),
        (policy_text(rule(1, **tagged("test*1*2*3*4*5*6"))), "Invalid tag pattern provided."),
        # rules against each other
        (
            policy_text(rule(3, **tagged("a*")), rule(3, **tagged("b*"))),
            "Duplicate priority in multiple rules.",
        ),
        (
            policy_text(rule(1), rule(2, ARCHIVE, **older_than(1, "untagged"))),
            "Only one rule can select Untagged images per storage class.",
        ),
        (
            policy_text(rule(1, **older_than(1)), rule(2, ARCHIVE, **older_than(2))),
            "Only one rule can specify tagStatus=ANY per storage class.",
        ),
        (
            policy_text(rule(2), rule(1, **older_than(1))),
            "Rule for tagStatus=ANY must have the lowest priority per storage class.",
        ),
        (
            policy_text(rule(1, **archived_for(90)), rule(2, **archived_for(90, "untagged"))),
            "Rule for tagStatus=ANY must have the lowest priority per storage class.",
        ),
        (
            policy_text(
                rule(1, tagStatus="tagged", tagPrefixList=["a", "b"], **COUNT),
                rule(2, ARCHIVE, tagStatus="tagged", tagPrefixList=["b", "a"], **COUNT),
            ),
            "Each tagPrefixList must be unique per storage class.",
        ),
    ],
)
def test_refused_texts(text: str, failure: str) -> None:
    """What ECR refuses in words of its own is one failure, on no line of its own."""
    assert refusal(text) == failure


def test_no_depth_of_nesting_escapes() -> None:
    """Values that can just be read, and not be printed or compared any more, are refused as well."""
    for depth in range(700, 1010):
        text = policy_text(rule(1, tagStatus="DEEP", **COUNT)).replace('"DEEP"', "[" * depth + "]" * depth)
        with pytest.raises(InvalidParameterException):
            parse(text)


def test_the_schema_is_a_schema() -> None:
    """The shipped schema is valid JSON Schema."""
    schema = resources.files("ecr_emulator").joinpath("specs/lifecycle-policy.json").read_text("utf-8")
    Draft202012Validator.check_schema(json.loads(schema))


def test_the_module_does_not_import_the_validator() -> None:
    """Starting the server must not pay for jsonschema."""
    probe = "import sys, ecr_emulator.core.lifecycle; sys.exit('jsonschema' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe], check=False).returncode == 0


# The worked examples


ALPHA_BETA_GAMMA = [
    image("A", 10, "alpha-1", "beta-1", "gamma-1"),
    image("B", 9, "alpha-2", "beta-2"),
    image("C", 8, "alpha-3", "beta-3", "gamma-2"),
]
BETA_PROD = [image("A", 10, "beta-1", "prod-1"), image("B", 9, "beta-2", "prod-2"), image("C", 8, "beta-3")]


@pytest.mark.parametrize(
    ("rules", "images", "expected"),
    [
        pytest.param(
            [rule(1, **older_than(14, "tagged", tagPatternList=["prod*"]))],
            [image("A", 15, "prod1"), image("B", 13, "prod2"), image("C", 15, "dev"), image("D", 15)],
            {"A": 1},
            id="image age",
        ),
        pytest.param(
            [rule(1, ARCHIVE, **older_than(90, countType="sinceImagePulled"))],
            [
                image("A", 200, last_pulled_at=ago(91)),
                image("B", 200, last_pulled_at=ago(89)),
                image("C", 91),
                image("D", 89),
                image("E", 200, last_pulled_at=ago(150), activated_at=ago(10)),
                image("F", 200, last_pulled_at=ago(91), activated_at=ago(100)),
            ],
            {"A": 1, "C": 1, "F": 1},
            id="last pulled time",
        ),
        pytest.param(
            [rule(1, **archived_for(365))],
            [
                image("A", 900, storage_class="ARCHIVE", archived_at=ago(366)),
                image("B", 900, storage_class="ARCHIVE", archived_at=ago(364)),
                image("C", 900),
                image("D", 900, archived_at=ago(500), activated_at=ago(400)),
            ],
            {"A": 1},
            id="archive transition time",
        ),
        pytest.param(
            [rule()],
            [image("A", 3), image("B", 2), image("C", 1), image("D", 9, "tag")],
            {"A": 1, "B": 1},
            id="image count",
        ),
        pytest.param(
            [rule(1, **tagged("prod*")), rule(2, **tagged("beta*"))],
            BETA_PROD,
            {"A": 1},
            id="multiple rules A",
        ),
        pytest.param(
            [rule(1, **tagged("beta*")), rule(2, **tagged("prod*"))],
            BETA_PROD,
            {"A": 1, "B": 1},
            id="multiple rules B",
        ),
        pytest.param(
            [rule(1, **older_than(5, "tagged", tagPatternList=["alpha*", "beta*"]))],
            [
                image("A", 12, "alpha-1"),
                image("B", 11, "beta-1"),
                image("C", 10, "alpha-2", "beta-2"),
                image("D", 4, "alpha-3"),
                image("E", 3, "beta-3"),
                image("F", 2, "alpha-4", "beta-4"),
            ],
            {"C": 1},
            id="multiple tags A",
        ),
        pytest.param(
            [rule(1, **tagged("alpha*", "beta*"))],
            ALPHA_BETA_GAMMA,
            {"A": 1, "B": 1},
            id="multiple tags B",
        ),
        pytest.param(
            [rule(1, tagStatus="tagged", tagPrefixList=["alpha", "beta"], **COUNT)],
            ALPHA_BETA_GAMMA,
            {"A": 1, "B": 1},
            id="multiple tags B with prefixes",
        ),
        pytest.param(
            [rule(1, tagStatus="any", **COUNT)],
            [image("A", 4, "alpha-1"), image("B", 3, "beta-1"), image("C", 2), image("D", 1, "alpha-2")],
            {"A": 1, "B": 1, "C": 1},
            id="all images A",
        ),
        pytest.param(
            [
                rule(1, **tagged("alpha*")),
                rule(2, **older_than(1, "untagged")),
                rule(3, tagStatus="any", **COUNT),
            ],
            [
                image("A", 4, "alpha-1", "beta-1"),
                image("B", 3),
                image("C", 2, "alpha-2"),
                # The guide's D, "git hash", is pushed on the same day as E, and E is the newest.
                image("D", 1.25, "0dead"),
                image("E", 1),
            ],
            {"A": 1, "B": 2, "D": 3},
            id="all images B",
        ),
        pytest.param(
            [rule(1, ARCHIVE, **older_than(30, "tagged", tagPatternList=["prod*"]))],
            [image("A", 31, "prod"), image("B", 29, "prod1"), image("C", 31, "dev")],
            {"A": 1},
            id="archive by age",
        ),
        pytest.param(
            [rule(1, ARCHIVE, **older_than(30)), rule(2, **archived_for(365))],
            [
                image("A", 31),
                image("B", 400, storage_class="ARCHIVE", archived_at=ago(366)),
                image("C", 400, storage_class="ARCHIVE", archived_at=ago(100)),
                image("D", 400, archived_at=ago(100), activated_at=ago(5)),
            ],
            {"A": 1, "B": 2},
            id="archive and expire",
        ),
        pytest.param(
            [rule(1, **tagged("*prod*"))],
            [
                image("A", 9, "repo-production"),
                image("B", 8, "prod-team"),
                image("C", 7, "xprod"),
                image("D", 6, "p.rod"),
            ],
            {"A": 1, "B": 1},
            id="wildcards",
        ),
        pytest.param(
            [rule(1, tagStatus="tagged", tagPrefixList=["v*"], **COUNT)],
            [image("A", 9, "v1"), image("B", 8, "v2")],
            {},
            id="a prefix is literal",
        ),
    ],
)
def test_worked_examples(rules: list[Any], images: list[LifecycleImage], expected: dict[str, int]) -> None:
    """Each example of the guide ends as the guide says."""
    assert acted(policy_text(*rules), images) == expected


def test_an_action_says_what_to_do_oldest_image_first() -> None:
    """Actions carry the type, the target and the rule, in the order of the images' age."""
    text = policy_text(rule(4, ARCHIVE, **older_than(30)), rule(9, **archived_for(90)))
    images = [image("B", 40), image("C", 900, storage_class="ARCHIVE", archived_at=ago(91)), image("A", 50)]
    assert evaluate(parse(text), images, NOW) == [
        LifecycleAction("C", 9, "EXPIRE"),
        LifecycleAction("A", 4, "TRANSITION", "ARCHIVE"),
        LifecycleAction("B", 4, "TRANSITION", "ARCHIVE"),
    ]


def test_an_image_of_exactly_that_age_stays() -> None:
    """Older than a number of days is more than that number."""
    text = policy_text(rule(1, **older_than(14)))
    assert acted(text, [image("A", 14), image("B", 14 + 1e-6), image("C", -1)]) == {"B": 1}


def test_day_counts_beyond_the_calendar_expire_nothing() -> None:
    """The largest number that is accepted can be evaluated."""
    assert acted(policy_text(rule(1, **older_than(2**31 - 1))), [image("A", 9999)]) == {}


def test_an_image_of_a_manifest_list_stays_but_counts() -> None:
    """A referenced image is not acted on; the count of images to keep includes it."""
    images = [image("A", 4), image("B", 3, referenced=True), image("C", 2, referenced=True), image("D", 1)]
    assert acted(policy_text(rule()), images) == {"A": 1}


def test_a_restored_image_counts_as_newly_pushed() -> None:
    """The restoration takes the place of the push."""
    images = [image("A", 100, archived_at=ago(50), activated_at=ago(1)), image("B", 2)]
    assert acted(policy_text(rule()), images) == {"B": 1}


def test_reference_artifacts_follow_their_subject() -> None:
    """Signatures, and what refers to them, go where the image goes and by the same rule."""
    images = [
        image("image", 40, "v1"),
        image("signature", 1, subject="image"),
        image("signature's signature", 1, subject="signature"),
        image("another image", 1),
        image("other's", 1, subject="another image"),
        image("young", 0.9, subject="image"),
        image("in a list", 1, subject="image", referenced=True),
        image("archived", 50, subject="image", storage_class="ARCHIVE", archived_at=ago(10)),
    ]
    archive = policy_text(rule(3, ARCHIVE, **older_than(30)))
    assert acted(archive, images) == {"image": 3, "signature": 3, "signature's signature": 3}
    expire = policy_text(rule(3, **older_than(30)))
    assert acted(expire, images) == {
        "image": 3,
        "signature": 3,
        "signature's signature": 3,
        "archived": 3,
    }


def test_artifacts_of_what_went_before_are_cleaned_up() -> None:
    """What was deleted or archived by a call takes its artifacts along at the next run, by no rule."""
    images = [
        image("archived image", 3, storage_class="ARCHIVE", archived_at=ago(2)),
        image("archived image's", 1, subject="archived image"),
        image("archived image's, archived", 9, subject="archived image", storage_class="ARCHIVE"),
        image("deleted image's", 1, subject="deleted image"),
        image("deleted image's, archived", 9, subject="deleted image", storage_class="ARCHIVE"),
        image("archived just now", 9, subject="deleted image", storage_class="ARCHIVE", archived_at=ago(0.5)),
        image("in a list", 1, subject="deleted image", referenced=True),
        image("young", 0.9, subject="deleted image"),
    ]
    assert evaluate(parse(policy_text(rule(3, **older_than(30)))), images, NOW) == [
        LifecycleAction("deleted image's, archived", None, "EXPIRE"),
        LifecycleAction("archived image's", None, "TRANSITION", "ARCHIVE"),
        LifecycleAction("deleted image's", None, "EXPIRE"),
    ]


def test_an_artifact_that_a_rule_archives_goes_with_its_subject() -> None:
    """Otherwise it would be archived only to be deleted by the next run."""
    text = policy_text(
        rule(1, **older_than(30, "tagged", tagPatternList=["*"])),
        rule(2, ARCHIVE, **older_than(10, "untagged")),
    )
    images = [image("image", 40, "v1"), image("signature", 40, subject="image")]
    assert evaluate(parse(text), images, NOW) == [
        LifecycleAction("image", 1, "EXPIRE"),
        LifecycleAction("signature", 1, "EXPIRE"),
    ]


# Properties


TAGS = ["a", "a1", "ab", "b", "b1", "c"]
DIGESTS = [f"sha256:{number}" for number in range(12)]
days = st.integers(0, 3) | st.integers(80, 200)
moments = st.none() | days.map(ago)


@st.composite
def repositories(draw: st.DrawFn, *, related: bool = True) -> list[LifecycleImage]:
    """Draw the images of a repository, with relations between them or without."""
    return [
        LifecycleImage(
            digest,
            draw(st.lists(st.sampled_from(TAGS), unique=True, max_size=3)),
            draw(days.map(ago)),
            draw(moments),
            draw(moments),
            draw(moments),
            draw(st.sampled_from(["STANDARD", "STANDARD", "ARCHIVE"])),
            referenced=related and draw(st.booleans()),
            subject=draw(st.none() | st.sampled_from(DIGESTS)) if related else None,
        )
        for digest in draw(st.lists(st.sampled_from(DIGESTS), unique=True))
    ]


@st.composite
def rules(draw: st.DrawFn, priority: int) -> LifecycleRule:
    """Draw a rule of a count type and an action that go together."""
    tags: dict[str, Any] = draw(
        st.sampled_from(["any", "untagged"]).map(lambda status: {"tag_status": status})
        | st.sampled_from(["tag_prefixes", "tag_patterns"]).flatmap(
            lambda name: st.fixed_dictionaries(
                {
                    "tag_status": st.just("tagged"),
                    name: st.lists(st.sampled_from(["a", "b", "a*", "*1", "*"]), min_size=1, max_size=2).map(
                        tuple
                    ),
                }
            )
        )
    )
    count_type = draw(
        st.sampled_from(
            ["imageCountMoreThan", "sinceImagePushed", "sinceImagePulled", "sinceImageTransitioned"]
        )
    )
    archived = count_type == "sinceImageTransitioned"
    transition = count_type == "sinceImagePulled" or (not archived and draw(st.booleans()))
    return LifecycleRule(
        priority=priority,
        count_type=count_type,
        count_number=draw(st.integers(1, 5) | st.integers(90, 120)),
        action="TRANSITION" if transition else "EXPIRE",
        target_storage_class="ARCHIVE" if transition else None,
        storage_class="ARCHIVE" if archived else "STANDARD",
        **tags,
    )


policies = (
    st.lists(st.integers(1, 20), unique=True, min_size=1, max_size=5)
    .flatmap(lambda priorities: st.tuples(*map(rules, priorities)))
    .map(LifecyclePolicy)
)


def apply(actions: list[LifecycleAction], images: list[LifecycleImage]) -> list[LifecycleImage]:
    """Do what the actions say."""
    types = {action.digest: action.type for action in actions}
    return [
        replace(image, storage_class="ARCHIVE", archived_at=NOW) if image.digest in types else image
        for image in images
        if types.get(image.digest) != "EXPIRE"
    ]


@given(policies, repositories())
def test_an_image_is_acted_on_once_at_most(policy: LifecyclePolicy, images: list[LifecycleImage]) -> None:
    """An image that exists and that no list needs is acted on by one rule or none."""
    digests = [action.digest for action in evaluate(policy, images, NOW)]
    assert len(set(digests)) == len(digests)
    assert set(digests) <= {image.digest for image in images if not image.referenced}


@given(policies, repositories(), st.data())
def test_order_of_images_and_rules_is_irrelevant(
    policy: LifecyclePolicy, images: list[LifecycleImage], data: st.DataObject
) -> None:
    """Permuted input gives the same actions in the same order."""
    permuted_policy = LifecyclePolicy(tuple(data.draw(st.permutations(policy.rules))))
    permuted_images = data.draw(st.permutations(images))
    assert evaluate(permuted_policy, permuted_images, NOW) == evaluate(policy, images, NOW)


def test_images_of_one_moment_are_told_apart_by_digest() -> None:
    """Which of two images counts as newer does not depend on who lists them."""
    images = [image("A", 5), image("B", 5)]
    assert acted(policy_text(rule()), images) == acted(policy_text(rule()), images[::-1]) == {"A": 1}


@given(policies, repositories(related=False))
def test_a_rule_leaves_alone_what_a_higher_priority_identified(
    policy: LifecyclePolicy, images: list[LifecycleImage]
) -> None:
    """Of the rules that identify an image only the first may act on it."""
    by_digest = {image.digest: image for image in images}
    for action in evaluate(policy, images, NOW):
        identifying = [rule.priority for rule in policy.rules if rule.identifies(by_digest[action.digest])]
        assert action.rule_priority == min(identifying)


@given(rules(1), repositories(related=False))
def test_a_count_rule_keeps_the_newest(rule: LifecycleRule, images: list[LifecycleImage]) -> None:
    """As many images stay as the rule says, if there are as many, and none of them is older."""
    rule = replace(rule, count_type="imageCountMoreThan")
    gone = {action.digest for action in evaluate(LifecyclePolicy((rule,)), images, NOW)}
    identified = [image for image in images if rule.identifies(image)]
    kept = [image.stored_at for image in identified if image.digest not in gone]
    assert len(kept) == min(rule.count_number, len(identified))
    assert all(image.stored_at <= min(kept) for image in identified if image.digest in gone)


@given(policies, repositories())
def test_a_second_run_finds_nothing_to_do(policy: LifecyclePolicy, images: list[LifecycleImage]) -> None:
    """Once the actions are carried out the policy is satisfied."""
    assert evaluate(policy, apply(evaluate(policy, images, NOW), images), NOW) == []


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["any", "expire"]),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
)


@given(st.text() | json_values.map(json.dumps))
def test_no_text_is_read_with_another_error(text: str) -> None:
    """Whatever the text, the answer is a policy or ECR's error."""
    with pytest.raises(InvalidParameterException):
        parse(text)


@given(st.data(), json_values)
def test_no_defect_is_read_with_another_error(data: st.DataObject, value: Any) -> None:
    """A policy with one value replaced is read, or refused with ECR's error."""
    text = policy_text(
        rule(1, **tagged("a*")), rule(2, ARCHIVE, **older_than(9)), rule(3, **archived_for(90))
    )
    target = document = json.loads(text)
    while True:
        key = data.draw(st.sampled_from(list(target) if isinstance(target, dict) else range(len(target))))
        if not isinstance(target[key], dict | list) or not target[key] or data.draw(st.booleans()):
            break
        target = target[key]
    target[key] = value
    try:
        policy = parse(json.dumps(document))
    except InvalidParameterException:
        return
    evaluate(policy, [image("A", 400, "a"), image("B", 1)], NOW)
