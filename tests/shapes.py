"""The schemas of what the emulator tells others of, to hold against what it does."""

import json
from importlib import resources
from typing import Any

import jsonschema


def _validator(name: str) -> jsonschema.Draft202012Validator:
    schema = json.loads((resources.files("ecr_emulator.specs") / name).read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


_EVENT, _RECORD = _validator("events.json"), _validator("audit-record.json")


def check_event(event: dict[str, Any]) -> None:
    """Fail for an event that is none of ECR's."""
    _EVENT.validate(event)


def check_record(record: dict[str, Any]) -> None:
    """Fail for a record that is none of CloudTrail's."""
    _RECORD.validate(record)
