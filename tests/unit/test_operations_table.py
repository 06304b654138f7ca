"""The table of operations (specs/operations.json) against the service model, the code and the tests.

A row has the IAM action that allows the operation, the module of its function, the test that proves its
effect and those that provoke its errors. The test's id names the operation whose row is wrong.
"""

import ast
import functools
import json
import re
from importlib import resources
from pathlib import Path

import pytest

from ecr_emulator.control import model, operations

ROOT = Path(__file__).resolve().parents[2]
TABLE = json.loads((resources.files("ecr_emulator.specs") / "operations.json").read_text())


@functools.cache
def names_of_tests(file: str) -> set[str]:
    """Return the names of the tests in a file; none where there is no file."""
    path = ROOT / file
    body = ast.parse(path.read_text()).body if path.is_file() else []
    return {node.name for node in body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def test_each_operation_of_the_model_has_a_row_and_nothing_else_has():
    assert list(TABLE) == sorted(model.operations())


@pytest.mark.parametrize("name", sorted(TABLE))
def test_a_row_has_an_iam_action_of_ecr(name):
    assert re.fullmatch(r"ecr:[A-Z][A-Za-z]+", TABLE[name]["action"])


def test_every_operation_of_the_model_is_there():
    assert operations.functions().keys() == model.operations().keys()


@pytest.mark.parametrize("name", sorted(TABLE))
def test_a_row_has_the_operations_module_and_a_test(name):
    row = TABLE[name]
    assert row.keys() == {"action", "module", "test", "errors"}
    assert operations.functions()[name].__module__ == f"ecr_emulator.control.operations.{row['module']}"
    file, _, test = row["test"].partition("::")
    assert file.startswith("tests/contract/")
    assert test in names_of_tests(file), f"{row['test']} does not exist"


@pytest.mark.parametrize("name", sorted(TABLE))
def test_a_row_has_each_declared_error_with_a_test_that_provokes_it(name):
    """Whether they do is held against the tests while these run."""
    errors = TABLE[name]["errors"]
    assert list(errors) == sorted(model.operations()[name].errors)
    for error, id_of_test in errors.items():
        file, _, test = id_of_test.partition("::")
        assert test in names_of_tests(file), f"{error}: {id_of_test} does not exist"
