"""Lifecycle policies: reading their text, and deciding what they do to the images of a repository.

Everything here is pure: a policy, the images and the time go in, actions come out. The rules of
evaluation are those of the ECR user guide, "Automate the cleanup of images by using lifecycle policies"
and "Examples of lifecycle policies"; those of the text are in its "Lifecycle policy properties".
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import cache
from importlib import import_module, resources
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct
from msgspec.structs import replace

from ecr_emulator.core.errors import InvalidParameterException
from ecr_emulator.core.names import matches_wildcard
from ecr_emulator.core.policies import read_document

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator

StorageClass = Literal["STANDARD", "ARCHIVE"]
ActionType = Literal["EXPIRE", "TRANSITION"]
TagStatus = Literal["tagged", "untagged", "any"]
CountType = Literal["imageCountMoreThan", "sinceImagePushed", "sinceImagePulled", "sinceImageTransitioned"]

_MAX_WILDCARDS = 4
_MIN_DAYS_IN_ARCHIVE = 90
_MIN_STAY_OF_ARTIFACTS = timedelta(hours=24)


class LifecycleImage(Struct, frozen=True):
    """What a lifecycle policy looks at in an image.

    Datetimes are timezone-aware UTC. ``archived_at`` and ``activated_at`` are the last time the image went
    into the archive and the last time it was restored from it. ``referenced`` says that a manifest list
    names the image, where an archived list counts for archived images only; ``subject`` is the digest
    that a reference artifact (a signature, an SBOM) refers to.
    """

    digest: str
    tags: Collection[str]
    pushed_at: datetime
    last_pulled_at: datetime | None = None
    archived_at: datetime | None = None
    activated_at: datetime | None = None
    storage_class: StorageClass = "STANDARD"
    referenced: bool = False
    subject: str | None = None

    @property
    def stored_at(self) -> datetime:
        """When the image came into its storage class; a restored one counts as newly pushed."""
        if self.storage_class == "ARCHIVE" and self.archived_at:
            return self.archived_at
        return self.activated_at or self.pushed_at

    @property
    def used_at(self) -> datetime:
        """The last pull or restoration, or the push of an image that saw neither."""
        return max(filter(None, (self.last_pulled_at, self.activated_at)), default=self.pushed_at)


class LifecycleRule(Struct, frozen=True):
    """One rule; a lower ``priority`` number is a higher priority.

    ``count_number`` is a number of images for imageCountMoreThan and of days for the others. Of
    ``tag_prefixes`` and ``tag_patterns`` one is filled if ``tag_status`` is tagged, else none.
    """

    priority: int
    tag_status: TagStatus
    count_type: CountType
    count_number: int
    action: ActionType = "EXPIRE"
    target_storage_class: Literal["ARCHIVE"] | None = None
    storage_class: StorageClass = "STANDARD"
    tag_prefixes: tuple[str, ...] = ()
    tag_patterns: tuple[str, ...] = ()
    description: str | None = None

    def identifies(self, image: LifecycleImage) -> bool:
        """Tell whether the image is of the rule's storage class and meets its tagging requirements.

        Every prefix or pattern must match some tag; tags that match none do no harm.
        """
        if image.storage_class != self.storage_class:
            return False
        if self.tag_status != "tagged":
            return self.tag_status == "any" or not image.tags
        return all(any(tag.startswith(prefix) for tag in image.tags) for prefix in self.tag_prefixes) and all(
            any(matches_wildcard(pattern, tag) for tag in image.tags) for pattern in self.tag_patterns
        )

    def marks(self, identified: Iterable[LifecycleImage], now: datetime) -> list[LifecycleImage]:
        """Pick those of the identified images that are beyond the newest N, or older than N days."""
        if self.count_type == "imageCountMoreThan":
            return sorted(identified, key=_age_order, reverse=True)[self.count_number :]
        # A day count of the policy can exceed what timedelta holds.
        limit = timedelta(days=min(self.count_number, timedelta.max.days))
        return [image for image in identified if now - self._counted_from(image) > limit]

    def _counted_from(self, image: LifecycleImage) -> datetime:
        return image.used_at if self.count_type == "sinceImagePulled" else image.stored_at


class LifecyclePolicy(Struct, frozen=True):
    """The rules of a policy, those of higher priority first."""

    rules: tuple[LifecycleRule, ...]


class LifecycleAction(Struct, frozen=True):
    """What happens to one image, and the priority of the rule that wants it.

    No rule wants it for an artifact whose subject went before this evaluation.
    """

    digest: str
    rule_priority: int | None
    type: ActionType
    target_storage_class: Literal["ARCHIVE"] | None = None


def parse(text: str) -> LifecyclePolicy:
    """Read a lifecycle policy text.

    Raises InvalidParameterException with what is not as the schema (specs/lifecycle-policy.json) has it, else
    with the first failure found in the JSON, in the meaning of each rule, or between rules.
    """
    try:
        document = read_document(text)
        failures = _schema_failures(document)
    except (ValueError, RecursionError) as error:
        raise _unmappable() from error
    if failures:
        # One on each line, the last one too (https://github.com/hashicorp/terraform-provider-aws/pull/45909).
        raise _invalid("".join(f"{failure}\n" for failure in failures))
    rules = tuple(sorted(map(_rule, document["rules"]), key=lambda rule: rule.priority))
    message = next(chain(*map(_rule_failures, rules), _policy_failures(rules)), None)
    if message:
        raise _invalid(message)
    return LifecyclePolicy(rules)


def evaluate(
    policy: LifecyclePolicy, images: Iterable[LifecycleImage], now: datetime
) -> list[LifecycleAction]:
    """Decide what a policy does to the images of a repository, oldest image first.

    Each rule identifies and marks images as if it were alone, and the rules are then applied by
    priority: an image that a rule identified is out of reach of all later rules, whether or not it was
    marked. An image that a manifest list names stays until the list went first. The reference artifacts
    of an image follow it, once they have been in their storage class for a day, and so do those of an
    image that was deleted or archived before. (ECR user guide, Lifecycle policy evaluation rules, and
    the considerations of image signing.)
    """
    images = sorted(images, key=_age_order)
    actions: dict[str, LifecycleAction] = {}
    seen: set[str] = set()
    for rule in sorted(policy.rules, key=lambda rule: rule.priority):
        identified = [image for image in images if rule.identifies(image)]
        for image in rule.marks(identified, now):
            if image.digest not in seen and not image.referenced:
                actions[image.digest] = LifecycleAction(
                    image.digest, rule.priority, rule.action, rule.target_storage_class
                )
        seen.update(image.digest for image in identified)
    _take_artifacts_along(actions, images, now)
    return [actions[image.digest] for image in images if image.digest in actions]


def _age_order(image: LifecycleImage) -> tuple[datetime, str]:
    # The digest decides between images of one moment, so that the order of the input never does.
    return image.stored_at, image.digest


def _take_artifacts_along(
    actions: dict[str, LifecycleAction], images: Sequence[LifecycleImage], now: datetime
) -> None:
    artifacts: dict[str, list[LifecycleImage]] = {}
    for image in images:
        if image.subject and not image.referenced and now - image.stored_at >= _MIN_STAY_OF_ARTIFACTS:
            artifacts.setdefault(image.subject, []).append(image)
    storage_classes = {image.digest: image.storage_class for image in images}
    pending = list(actions.values())
    for subject in artifacts:
        if subject not in storage_classes:
            pending.append(LifecycleAction(subject, None, "EXPIRE"))
        elif storage_classes[subject] == "ARCHIVE":
            pending.append(LifecycleAction(subject, None, "TRANSITION", "ARCHIVE"))
    while pending:
        action = pending.pop()
        for image in artifacts.get(action.digest, ()):
            own = actions.get(image.digest)
            # What a rule archives still goes with its subject.
            follows = own is None or (own.type, action.type) == ("TRANSITION", "EXPIRE")
            if follows and image.storage_class != action.target_storage_class:
                actions[image.digest] = replace(action, digest=image.digest)
                pending.append(actions[image.digest])


def _rule(document: dict[str, Any]) -> LifecycleRule:
    selection, action = document["selection"], document["action"]
    target = action.get("targetStorageClass")
    if action["type"] == "transition" and not target:
        raise _unmappable()
    return LifecycleRule(
        # JSON Schema takes 1.0 for an integer.
        priority=int(document["rulePriority"]),
        tag_status=selection["tagStatus"],
        count_type=selection["countType"],
        count_number=int(selection["countNumber"]),
        action=action["type"].upper(),
        target_storage_class=target and target.upper(),
        storage_class=selection.get("storageClass", "standard").upper(),
        tag_prefixes=tuple(selection.get("tagPrefixList", ())),
        tag_patterns=tuple(selection.get("tagPatternList", ())),
        description=document.get("description"),
    )


def _rule_failures(rule: LifecycleRule) -> Iterator[str]:
    given = [
        name
        for name, tags in (("tagPrefixList", rule.tag_prefixes), ("tagPatternList", rule.tag_patterns))
        if tags
    ]
    if rule.tag_status != "tagged":
        for name in given:
            yield f"Cannot specify {name} with tagStatus {rule.tag_status.upper()}."
    elif not given:
        yield "Must specify tagPrefixList or tagPatternList when tagStatus=TAGGED."
    elif len(given) > 1:
        yield "If policy has a tagged rule, it must specify only one of tagPrefixList or tagPatternList."
    if any(pattern.count("*") > _MAX_WILDCARDS for pattern in rule.tag_patterns):
        yield "Invalid tag pattern provided."
    if rule.count_type == "sinceImageTransitioned":
        if rule.action != "EXPIRE":
            yield "SINCE_IMAGE_TRANSITIONED supports the EXPIRE action only."
        if rule.count_number < _MIN_DAYS_IN_ARCHIVE:
            yield f"SINCE_IMAGE_TRANSITIONED requires a countNumber of at least {_MIN_DAYS_IN_ARCHIVE}."
    elif rule.storage_class != "STANDARD":
        yield (
            "SINCE_IMAGE_PUSHED, SINCE_IMAGE_PULLED and IMAGE_COUNT_MORE_THAN support the STANDARD storage "
            "class only."
        )
    if rule.count_type == "sinceImagePulled" and rule.action != "TRANSITION":
        yield "SINCE_IMAGE_PULLED supports the TRANSITION action only."


def _policy_failures(rules: tuple[LifecycleRule, ...]) -> Iterator[str]:
    """Find what is wrong between rules, which stand in the order of their priorities."""
    if _repeats([rule.priority for rule in rules]):
        yield "Duplicate priority in multiple rules."
    for storage_class in ("STANDARD", "ARCHIVE"):
        selecting = [rule for rule in rules if rule.storage_class == storage_class]
        statuses = [rule.tag_status for rule in selecting]
        if statuses.count("untagged") > 1:
            yield "Only one rule can select Untagged images per storage class."
        if statuses.count("any") > 1:
            yield "Only one rule can specify tagStatus=ANY per storage class."
        if "any" in statuses[:-1]:
            yield "Rule for tagStatus=ANY must have the lowest priority per storage class."
        if _repeats([frozenset(rule.tag_prefixes) for rule in selecting if rule.tag_prefixes]):
            yield "Each tagPrefixList must be unique per storage class."


def _repeats(values: list[Any]) -> bool:
    return len(set(values)) < len(values)


@cache
def _schema_validator() -> "Draft202012Validator":
    # Imported with the first policy: it takes 150 ms, and the server must start quickly.
    jsonschema = import_module("jsonschema")
    schema = resources.files("ecr_emulator").joinpath("specs/lifecycle-policy.json").read_text("utf-8")
    validator: Draft202012Validator = jsonschema.Draft202012Validator(json.loads(schema))
    return validator


_JSON_TYPES = {
    dict: "object",
    list: "array",
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    type(None): "null",
}


def _schema_failures(document: Any) -> list[str]:
    """Return what is wrong with a document by the schema, as ECR's validator tells it.

    By its texts that is a Java library, java-json-tools/json-schema-validator. It looks at the keywords of a
    value in alphabetical order, then at the values within, properties in that order too. Once anything has
    failed it goes no deeper, but on to what is beside: two tag lists that are null are two failures
    (https://github.com/simple-container-com/api/issues/34), while an action that is none of the two hides
    what is wrong within it (https://github.com/cloudposse/terraform-aws-ecr/issues/158).
    """
    found = {
        (tuple(error.path), str(error.validator)): error
        for error in _schema_validator().iter_errors(document)
        # Where several schemas match, what tells them apart is not there: that is a failure of its own.
        if error.validator != "oneOf" or error.context
    }
    places = sorted(found)
    first = places[0][0] if places else ()
    return [
        _SCHEMA_FAILURES[keyword](found[path, keyword])
        for path, keyword in places
        if path == first or (len(path) <= len(first) and path[:-1] == first[: len(path) - 1])
    ]


# The texts of ECR's validator, by keyword.
_SCHEMA_FAILURES: dict[str, Callable[[Any], str]] = {
    "required": lambda error: (
        "object has missing required properties "
        f"({_json_list(set(error.validator_value) - error.instance.keys())})"
    ),
    "additionalProperties": lambda error: (
        "object instance has properties which are not allowed by the schema: "
        f"{_json_list(error.instance.keys() - error.schema['properties'].keys())}"
    ),
    "type": lambda error: (
        f"instance type ({_JSON_TYPES[type(error.instance)]}) does not match any allowed primitive type "
        f"(allowed: {_json_list([error.validator_value])})"
    ),
    "enum": lambda error: (
        f"instance value ({_json(error.instance)}) not found in enum "
        f"(possible values: {_json_list(error.validator_value)})"
    ),
    "minimum": lambda error: (
        "numeric instance is lower than the required minimum "
        f"(minimum: {error.validator_value}, found: {_json(error.instance)})"
    ),
    "maximum": lambda error: (
        "numeric instance is greater than the required maximum "
        f"(maximum: {error.validator_value}, found: {_json(error.instance)})"
    ),
    "minItems": lambda error: (
        f"array is too short: must have at least {error.validator_value} elements "
        f"but instance has {len(error.instance)} elements"
    ),
    "maxItems": lambda error: (
        f"array is too long: must have at most {error.validator_value} elements "
        f"but instance has {len(error.instance)} elements"
    ),
    "oneOf": lambda error: (
        f"instance failed to match exactly one schema (matched 0 out of {len(error.validator_value)})"
    ),
}


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _json_list(values: Iterable[str]) -> str:
    return _json(sorted(values))


def _unmappable() -> InvalidParameterException:
    return _invalid("Could not map policyString into LifecyclePolicy.")


def _invalid(failure: str) -> InvalidParameterException:
    return InvalidParameterException(
        "Invalid parameter at 'LifecyclePolicyText' failed to satisfy constraint: "
        f"'Lifecycle policy validation failure: {failure}'"
    )
