"""Reading `runbook.yaml`: every error at once, with the line it is in."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from officeops.errors import Problem
from officeops.runbook.model import LocalProgram, Runbook
from officeops.settings.model import PORTS, Settings

_PLACEHOLDERS = {"port", "release", "venv", "sha", "caddy", "python", *Settings.model_fields}
_NAMED = re.compile(r"\{([^{}]*)\}")
Location = tuple[str | int, ...]


def read_runbook(path: Path) -> tuple[Runbook | None, list[Problem]]:
    """The runbook, or None and every problem."""
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError) as error:
        return None, [Problem(path, 0, "(file)", f"a file that cannot be read ({error})", "a YAML file in UTF-8")]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 0
        return None, [Problem(path, line, "(syntax)", str(getattr(error, "problem", error)), "YAML")]
    if not isinstance(root, MappingNode):
        return None, [
            Problem(path, 1, "(file)", "no mapping of keys", "keys and values, as in the runbook.yaml that comes with this program")
        ]
    lines = dict(_lines(root, ()))
    problems = [Problem(path, line, _dotted(where), "the key a second time", "each key once") for where, line in _duplicates(root, ())]
    raw: Any = yaml.SafeLoader("").construct_document(root)
    try:
        runbook = Runbook.model_validate(raw)
    except ValidationError as error:
        return None, problems + [_problem(path, lines, one) for one in error.errors()]
    problems += [Problem(path, _line(lines, where), _dotted(where), found, allowed) for where, found, allowed in _crossed(runbook)]
    return (None, problems) if problems else (runbook, [])


def _lines(node: Node, where: Location) -> Iterator[tuple[Location, int]]:
    """Each key's place, from 1. Merged keys (<<) count where they are written."""
    if isinstance(node, MappingNode):
        for key, value in node.value:
            if key.value == "<<":
                yield from _lines(value, where)
                continue
            yield (*where, key.value), key.start_mark.line + 1
            yield from _lines(value, (*where, key.value))
    elif isinstance(node, SequenceNode):
        for position, value in enumerate(node.value):
            yield (*where, position), value.start_mark.line + 1
            yield from _lines(value, (*where, position))


def _duplicates(node: Node, where: Location) -> Iterator[tuple[Location, int]]:
    if isinstance(node, MappingNode):
        seen = set()
        for key, value in node.value:
            if isinstance(key, ScalarNode) and key.value in seen:
                yield (*where, key.value), key.start_mark.line + 1
            seen.add(key.value)
            yield from _duplicates(value, (*where, key.value))
    elif isinstance(node, SequenceNode):
        for position, value in enumerate(node.value):
            yield from _duplicates(value, (*where, position))


def _line(lines: Mapping[Location, int], where: Location) -> int:
    """Of the thing itself, or of the nearest thing around it."""
    while where and where not in lines:
        where = where[:-1]
    return lines.get(where, 1)


def _dotted(where: Location) -> str:
    return ".".join(map(str, where))


def _problem(path: Path, lines: Mapping[Location, int], raw: Any) -> Problem:
    where: Location = tuple(part for part in raw["loc"] if part != "[key]")
    return Problem(path, _line(lines, where), _dotted(where), _found(raw), _allowed(raw, where))


def _found(raw: Any) -> str:
    if raw["type"] == "missing":
        return "nothing"
    return "an unknown key" if raw["type"] == "extra_forbidden" else repr(raw["input"])


def _allowed(raw: Any, where: Location) -> str:
    if raw["type"] == "extra_forbidden":
        keys = sorted(_keys_at(where[:-1]))
        near = difflib.get_close_matches(str(where[-1]), keys, 1)
        return f"perhaps {near[0]}" if near else f"one of {', '.join(keys)}"
    if raw["type"] == "missing":
        return "a value"
    if where == ("version",):
        return "1; a higher one needs a newer version of this program"
    return str(raw.get("ctx", {}).get("expected") or raw["msg"])


def _keys_at(where: Location) -> list[str]:
    """Keys that the schema has for the mapping at `where`."""
    schema = Runbook.model_json_schema()
    node: Any = schema
    for part in where:
        node = _resolved(schema, node)
        node = node.get("items", {}) if isinstance(part, int) else node.get("properties", {}).get(part) or _pattern(node)
    return list(_resolved(schema, node).get("properties", {}))


def _pattern(node: Any) -> Any:
    return next(iter(node.get("patternProperties", {}).values()), None) or node.get("additionalProperties") or {}


def _resolved(schema: Any, node: Any) -> Any:
    if isinstance(node, dict) and "anyOf" in node:
        node = next((option for option in node["anyOf"] if "$ref" in option), node)
    if isinstance(node, dict) and "$ref" in node:
        return schema["$defs"][node["$ref"].rsplit("/", 1)[1]]
    return node if isinstance(node, dict) else {}


def _crossed(runbook: Runbook) -> Iterator[tuple[Location, str, str]]:
    """What no single key can show: names that must exist, circles, parts that must be there together."""
    names = runbook.services.keys()
    for name, service in runbook.services.items():
        here: Location = ("services", name)
        for position, other in enumerate(service.depends_on):
            if other not in names:
                yield (*here, "depends_on", position), repr(other), f"one of {', '.join(names)}"
        if service.port is None or service.port.lower() not in PORTS:
            yield (*here, "port"), repr(service.port), f"one of {', '.join(port.upper() for port in PORTS)}"
        if service.kind == "app":
            for part in ("health", "local"):
                if getattr(service, part) is None:
                    yield (*here, part), "nothing", "an app says how it runs and how it is asked"
        if service.local is not None:
            yield from _unknown_placeholders((*here, "local"), service.local)
    for name in ("migrate", "seed"):
        program = getattr(runbook.application, name)
        if program is not None:
            yield from _unknown_placeholders(("application", name), program)
    yield from _circles(runbook)
    for kind in ("caddy", "postgres"):
        having = [name for name, service in runbook.services.items() if service.kind == kind]
        if len(having) != 1:
            yield ("services",), f"{len(having)} services of kind {kind}", "exactly one"
    if runbook.services.get(runbook.database.service) is None or runbook.services[runbook.database.service].kind != "postgres":
        yield ("database", "service"), repr(runbook.database.service), "the service of kind postgres"


def _circles(runbook: Runbook) -> Iterator[tuple[Location, str, str]]:
    started: set[str] = set()
    waiting = dict(runbook.services)
    while ready := [name for name, service in waiting.items() if set(service.depends_on) & runbook.services.keys() <= started]:
        started.update(ready)
        for name in ready:
            del waiting[name]
    for name in waiting:
        yield (
            ("services", name, "depends_on"),
            f"a circle: {' and '.join(waiting)} wait for each other",
            "services that can start one after the other",
        )


def _unknown_placeholders(where: Location, program: LocalProgram) -> Iterator[tuple[Location, str, str]]:
    texts: list[tuple[Location, str]] = [((*where, "command", position), text) for position, text in enumerate(program.command)]
    texts += [((*where, "environment", key), text) for key, text in program.environment.items()]
    for place, text in texts:
        for name in _NAMED.findall(text):
            if name not in _PLACEHOLDERS:
                near = difflib.get_close_matches(name, _PLACEHOLDERS, 1)
                yield (
                    place,
                    f"{{{name}}}",
                    f"perhaps {{{near[0]}}}" if near else "a key of .env in lower case, or port, release, venv, sha, caddy, python",
                )
