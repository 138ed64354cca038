"""Making `.env`: from `.env.example`, with secrets of its own, readable by its owner only."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path

from officeops.errors import UsageError
from officeops.settings.load import parse_env
from officeops.settings.model import SECRETS


def ensure_env(folder: Path, overrides: Mapping[str, str] | None = None) -> list[str]:
    """Makes `.env` when there is none, and fills the secrets that are empty or missing. Everything else stays as it is, to the byte.

    overrides: values for a new file only. Returns the keys that were generated. Raises UsageError without `.env.example`.
    """
    file, example = folder / ".env", folder / ".env.example"
    fresh = not file.exists()
    try:
        text = (example if fresh else file).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UsageError(f"There is no {example} to make .env from.", todo="Run this in the project's folder.") from error
    if fresh:
        for key, value in (overrides or {}).items():
            text = _set(text, key, value)
    present, _ = parse_env(file, text)
    missing = [name.upper() for name in SECRETS if name.upper() not in present or not present[name.upper()].value]
    for key in missing:
        text = _set(text, key, _generated(key))
    if fresh or missing:
        _write_private(file, text)
    return missing


def _generated(key: str) -> str:
    value = secrets.token_hex(32 if key == "JWT_SECRET_KEY" else 16)
    return f"admin:{value}" if key == "PREFECT_AUTH_STRING" else value


def _set(text: str, key: str, value: str) -> str:
    line = f"{key}={value}"
    pattern = re.compile(rf"^{re.escape(key)}=.*$", re.MULTILINE)
    if pattern.search(text):
        return pattern.sub(lambda _: line, text, count=1)
    return text + ("" if text.endswith("\n") or not text else "\n") + line + "\n"


def _write_private(file: Path, text: str) -> None:
    temporary = file.with_name(f".env.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    temporary.rename(file)
