"""What `runbook.yaml` and `.env` may say, for editors and for people: writes `docs/runbook.schema.json`, `docs/runbook.md`, `docs/settings.md`.

python -m officeops.runbook.schema [FOLDER]
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema
from pydantic_core.core_schema import DictSchema

from officeops.runbook.model import Runbook
from officeops.settings.document import in_words, settings_page, table

MADE_BY = "python -m officeops.runbook.schema"
PROJECT = Path(__file__).resolve().parent.parent.parent
Row = tuple[str, str, str, str]


class _ForEditors(GenerateJsonSchema):
    """Titles are the keys themselves: what an editor shows beside the description."""

    def get_title_from_name(self, name: str) -> str:
        """`keep_last`, not `Keep Last`."""
        return name

    def dict_schema(self, schema: DictSchema) -> dict[str, Any]:
        """Names that do not match their pattern are mistakes."""
        made = super().dict_schema(schema)
        return made | {"additionalProperties": False} if "patternProperties" in made else made


def documents() -> dict[str, str]:
    """The files' texts, by their paths in the project."""
    example = (PROJECT / ".env.example").read_text(encoding="utf-8")
    return {
        "docs/runbook.schema.json": json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n",
        "docs/runbook.md": runbook_page(),
        "docs/settings.md": settings_page(example, MADE_BY),
    }


def json_schema() -> dict[str, Any]:
    """`runbook.yaml` as JSON Schema 2020-12."""
    schema = Runbook.model_json_schema(schema_generator=_ForEditors)
    head = {
        "$schema": GenerateJsonSchema.schema_dialect,
        "$comment": f"Made by `{MADE_BY}` from officeops/runbook/model.py; do not edit.",
        "title": "runbook.yaml",
    }
    return head | {key: value for key, value in schema.items() if key != "title"}


def runbook_page() -> str:
    """Every key as a table."""
    schema = json_schema()
    rows = [(f"`{key}`", allowed, default, meaning) for key, allowed, default, meaning in _rows(schema, schema, "")]
    lines = [
        "# runbook.yaml",
        "",
        f"Made by `{MADE_BY}` from `officeops/runbook/model.py`; do not edit.",
        "",
        "`runbook.yaml` describes a self-hosted application: what runs, what is asked of it, how it is backed up, who is told. All of it is",
        "checked before anything runs, and every mistake is named with its line; unknown keys are mistakes. For completion and checks while",
        "writing, an editor with a YAML language server takes `docs/runbook.schema.json` from the file's first lines:",
        "",
        "```yaml",
        "# yaml-language-server: $schema=docs/runbook.schema.json",
        "```",
        "",
        *table(("Key", "Allowed", "Default", "Meaning"), rows),
        "",
        "`NAME` stands for a name of your own (small letters, digits, `_` and `-`, a letter first), `[]` for each item of a list.",
        "",
        "## Placeholders",
        "",
        " ".join(schema["$defs"]["LocalProgram"]["description"].split()),
        "",
        "## Beyond single keys",
        "",
        "- Every name in `depends_on` is a service, and no services wait for each other in a circle.",
        "- Each service has a port of its own. An app has `health` and `local`.",
        "- Exactly one service is of kind `postgres` (its port is `POSTGRES_PORT`; `database.service` names it) and one of kind `caddy`.",
        "- Keys are text: `no:` or `8080:` need quotes. YAML's anchors, aliases and merges (`<<`) work; tags do not.",
        "",
    ]
    return "\n".join(lines)


def _rows(schema: Any, node: Any, at: str) -> Iterator[Row]:
    for key, value in node["properties"].items():
        here, below = f"{at}{key}", _below(schema, value)
        required = key in node.get("required", ())
        default = "required" if required else _default(value, below)
        yield here, in_words(_resolved(schema, value)), default, value["description"]
        if below:
            suffix, inner = below
            yield from _rows(schema, inner, f"{here}{suffix}.")


def _below(schema: Any, node: Any) -> tuple[str, Any] | None:
    """The mapping with known keys that a value is, or has under names or in a list, and how it is reached."""
    if node.get("type") == "array":
        inner, suffix = _resolved(schema, node["items"]), "[]"
    elif "patternProperties" in node:
        inner, suffix = _resolved(schema, next(iter(node["patternProperties"].values()))), ".NAME"
    else:
        inner, suffix = _resolved(schema, node), ""
    return (suffix, inner) if "properties" in inner else None


def _resolved(schema: Any, node: Any) -> Any:
    if "anyOf" in node:
        return next((_resolved(schema, option) for option in node["anyOf"] if "$ref" in option), node)
    if "items" in node:
        return {**node, "items": _resolved(schema, node["items"])}
    return schema["$defs"][node["$ref"].rsplit("/", 1)[1]] if "$ref" in node else node


def _default(node: Any, below: tuple[str, Any] | None) -> str:
    value = node.get("default")
    if below or value in (None, "", [], {}):  # the keys below have their own
        return ""
    return f"`{value:g}`" if isinstance(value, float) else f"`{json.dumps(value)}`"


def main() -> None:
    """Writes the files into the project, or into the folder that is given."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else PROJECT
    for path, text in documents().items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        print(file)


if __name__ == "__main__":
    main()
