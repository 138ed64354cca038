"""Braces in commands and environments."""

from __future__ import annotations

import pytest

from officeops.runbook.placeholders import fill, named

VALUES = {"port": "8000", "odd": "{port} \\1 {{port}}"}


@pytest.mark.parametrize(
    ("text", "names", "filled"),
    [
        ("", [], ""),
        ("127.0.0.1:{port}", ["port"], "127.0.0.1:8000"),
        ("{port}{port}", ["port", "port"], "80008000"),
        ("{{port}}", [], "{port}"),
        ("${{port}}", [], "${port}"),
        ("{{{port}}}", [], "{{port}}"),
        ("{} { port } {a-b} }{", [], "{} { port } {a-b} }{"),
        ('{"a": {"b": "{port}"}}', ["port"], '{"a": {"b": "8000"}}'),
        ("{odd}", ["odd"], "{port} \\1 {{port}}"),
    ],
)
def test_names_in_braces_are_filled_and_all_else_is_text(text: str, names: list[str], filled: str) -> None:
    assert (named(text), fill(text, VALUES)) == (names, filled)
