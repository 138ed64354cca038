"""What editors and people are told about `runbook.yaml` and `.env` is what the program takes."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from officeops.runbook.schema import documents, json_schema
from officeops.settings import Settings
from tests.support.site import PROJECT

SCHEMA = json.loads((PROJECT / "docs/runbook.schema.json").read_text(encoding="utf-8"))
RUNBOOK = yaml.safe_load((PROJECT / "runbook.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", list(documents()))
def test_a_file_in_docs_is_what_the_program_says_today(path: str) -> None:
    assert (PROJECT / path).read_text(encoding="utf-8") == documents()[path], f"make it anew: {sys.executable} -m officeops.runbook.schema"


@pytest.mark.parametrize("path", list(documents()))
def test_a_file_in_docs_says_how_it_is_made(path: str) -> None:
    assert "Made by `python -m officeops.runbook.schema`" in (PROJECT / path).read_text(encoding="utf-8")[:500]


def test_the_command_writes_them_all(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "officeops.runbook.schema", str(tmp_path)], check=True, capture_output=True, cwd=PROJECT)
    assert {path: (tmp_path / path).read_text(encoding="utf-8") for path in documents()} == documents()


def test_it_is_json_schema_2020_12_without_an_address_of_its_own() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert "$id" not in SCHEMA


def test_the_runbook_that_comes_with_the_program_is_valid() -> None:
    assert [error.message for error in Draft202012Validator(SCHEMA).iter_errors(RUNBOOK)] == []


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("version",), 2),
        (("stack",), "Big Office"),
        (("novelty",), 1),
        (("services",), {}),
        (("services", "Back End"), {"kind": "redis", "port": "REDIS_PORT"}),
        (("services", "backend", "kind"), "mysql"),
        (("services", "backend", "port"), 8000),
        (("services", "backend", "novelty"), 1),
        (("services", "backend", "depends_on"), "postgres"),
        (("services", "backend", "health"), {}),
        (("services", "backend", "health", "timeout"), 61),
        (("services", "backend", "writes_database"), "true"),
        (("services", "backend", "local", "command"), []),
        (("services", "backend", "local", "environment", "PG-HOST"), "x"),
        (("services", "backend", "local", "environment", "PGPORT"), 5432),
        (("backups", "retention", "keep_last"), 0),
        (("backups", "retention", "daily"), 1.5),
        (("contacts", 0, "role"), "boss"),
    ],
)
def test_a_wrong_one_is_not_valid(place: tuple[str | int, ...], value: object) -> None:
    wrong = copy.deepcopy(RUNBOOK)
    node: Any = wrong
    for part in place[:-1]:
        node = node[part]
    node[place[-1]] = value
    assert not Draft202012Validator(SCHEMA).is_valid(wrong)


def objects(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
    for inner in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from objects(inner)


def test_every_mapping_with_known_keys_refuses_others_and_explains_each() -> None:
    for node in objects(json_schema()):
        if isinstance(node.get("properties"), dict):
            assert node["additionalProperties"] is False
            assert node["description"]
            for key, value in node["properties"].items():
                assert value.get("description"), key


def test_names_and_variables_of_ones_own_are_checked_too() -> None:
    for node in objects(json_schema()):
        if "patternProperties" in node:
            assert node["additionalProperties"] is False


def test_every_key_of_the_settings_is_in_their_page() -> None:
    page = documents()["docs/settings.md"]
    assert [name for name in Settings.model_fields if f"| `{name.upper()}` |" not in page] == []


def test_reading_a_configuration_loads_nothing_heavy() -> None:
    heavy = [
        "pyrage",
        "jsonschema",
        "sqlalchemy",
        "boto3",
        "prefect",
        "httpx",
        "officeops.runbook.schema",
        "pydantic.deprecated.class_validators",
    ]
    script = "import sys, officeops.config; print(*[name for name in sys.argv[1:] if name in sys.modules])"
    said = subprocess.run([sys.executable, "-c", script, *heavy[:-1]], check=True, capture_output=True, text=True, cwd=PROJECT).stdout
    assert said.split() == []
