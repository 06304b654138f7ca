"""What an operation does to which repositories, in the terms of policies."""

from __future__ import annotations

import functools
import json
from importlib import resources
from typing import Any

from ecr_emulator.control import model
from ecr_emulator.core import repositories
from ecr_emulator.core.authorization import EVERY_REPOSITORY, Access
from ecr_emulator.core.call import Call


@functools.cache
def actions() -> dict[str, str]:
    """Return the action of each operation, as the table of operations has it."""
    table = json.loads((resources.files("ecr_emulator.specs") / "operations.json").read_text())
    return {name: row["action"] for name, row in table.items()}


def accesses_of(operation: model.Operation, call: Call, given: dict[str, Any]) -> list[Access]:
    """Return what a call is to be allowed: its action on each of the repositories that it names.

    An operation on many repositories that names none is about all of them. Creating a repository with
    tags is tagging it, too (ECR user guide, Using Tag-Based Access Control). Raises
    InvalidParameterException for an ARN that is none of a repository here.
    """
    action, registry = actions()[operation.name], call.registry
    names: list[str | None] = [given.get("repositoryName")]
    if "resourceArn" in given:
        registry, name = repositories.read_arn(call, given["resourceArn"])
        names = [name]
    elif "repositoryNames" in model.shape(operation.input)["members"]:
        names = list(dict.fromkeys(given.get("repositoryNames", [EVERY_REPOSITORY])))
    tags = {tag["Key"]: tag["Value"] for tag in given.get("tags", ())}
    keys = tuple(tags) or tuple(given.get("tagKeys", ()))
    wanted = [action, "ecr:TagResource"] if operation.name == "CreateRepository" and tags else [action]
    return [Access(each, registry, name, tags, keys) for each in wanted for name in names]
