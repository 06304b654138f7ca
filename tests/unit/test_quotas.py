"""The table of service quotas, and the code that has the same numbers."""

import importlib
import json
from importlib import resources
from typing import Any

import pytest

from ecr_emulator.core import quotas
from ecr_emulator.settings import MEMORY, Settings, SettingsError, load
from ecr_emulator.testing import BackgroundServer

SPECS = resources.files("ecr_emulator.specs")
TABLE = json.loads(SPECS.joinpath("quotas.json").read_text())
MIB = 1024 * 1024


def number_in_code(place: str) -> Any:
    module, _, name = place.partition(":")
    if module == "model":
        return json.loads(SPECS.joinpath("ecr.json").read_text())["shapes"][name]["max"]
    if module == "schema":
        return json.loads(SPECS.joinpath(name).read_text())["properties"]["rules"]["maxItems"]
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("quota", TABLE["quotas"], ids=lambda quota: quota["name"])
def test_each_quota_has_a_source_and_is_enforced(quota: dict[str, Any]) -> None:
    assert quota["source"] in TABLE["sources"]
    if quota.get("setting"):
        assert quotas.defaults()[quota["name"]] == quota["default"]
    else:
        assert number_in_code(quota["in"]) == quota["default"] * (MIB if quota.get("unit") == "MiB" else 1)


def test_some_are_changed_and_the_others_stay() -> None:
    changed = quotas.changed({"tags_per_image": 3})
    assert changed == {**quotas.defaults(), "tags_per_image": 3}
    assert quotas.changed({}) == quotas.defaults()


@pytest.mark.parametrize("name", ["tags", "layer_parts"])
def test_a_quota_that_cannot_be_set_is_refused_with_those_that_can(name: str) -> None:
    with pytest.raises(quotas.UnknownQuotaError, match=rf"no {name}; .*images_per_repository"):
        quotas.changed({name: 1})


def test_the_server_does_not_start_with_a_quota_that_there_is_not() -> None:
    with pytest.raises(Exception, match="quotas has no tags"):
        BackgroundServer(Settings(data_dir=MEMORY, port=0, quotas={"tags": 1})).start()


def test_quotas_are_set_in_each_source(tmp_path: Any) -> None:
    file = tmp_path / "emulator.toml"
    file.write_text("[quotas]\ntags_per_image = 5\n")
    assert load({}, {}, file).quotas == {"tags_per_image": 5}
    environment = {"ECR_EMULATOR_QUOTAS": "tags_per_image=6, images_per_repository=7"}
    assert load({}, environment, file).quotas == {"tags_per_image": 6, "images_per_repository": 7}
    assert load({"quotas": "tags_per_image=8"}, environment, file).quotas == {"tags_per_image": 8}


@pytest.mark.parametrize("number", [0, -1, True, "5", 1.5])
def test_a_quota_is_a_whole_number_of_at_least_one(number: Any) -> None:
    with pytest.raises(SettingsError, match="at least 1 for tags_per_image"):
        Settings(quotas={"tags_per_image": number})


def test_a_number_on_the_command_line_that_is_none_is_refused() -> None:
    with pytest.raises(SettingsError, match="quotas must be a whole number, not 'many'"):
        load({"quotas": "tags_per_image=many"}, {})
