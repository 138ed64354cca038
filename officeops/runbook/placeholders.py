"""`{port}` and the like in a program's command and environment. `{{port}}` is the text {port}; all other braces are just braces."""

from __future__ import annotations

import re
from collections.abc import Mapping

_BRACES = re.compile(r"\{\{(\w+)\}\}|\{(\w+)\}")


def named(text: str) -> list[str]:
    """The names that `text` asks for, in order."""
    return [found[2] for found in _BRACES.finditer(text) if found[2]]


def fill(text: str, values: Mapping[str, str]) -> str:
    """`text` with their values. Raises KeyError for a name without one."""
    return _BRACES.sub(lambda found: f"{{{found[1]}}}" if found[1] else values[found[2]], text)
