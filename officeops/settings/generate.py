"""Making `.env`: from `.env.example`, with secrets of its own, readable by its owner only."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from officeops.errors import OfficeOpsError, UsageError
from officeops.settings.env import parse_env
from officeops.settings.model import SECRETS


def ensure_env(folder: Path, overrides: Mapping[str, str] | None = None) -> list[str]:
    """Makes `.env` when there is none, and fills the secrets that are empty or missing. Everything else stays as it is, to the byte.

    overrides: for a new file only, what is written behind `KEY=` (see `env.quoted` for values with spaces or quotes).
    Returns the keys that were generated. Raises UsageError without `.env.example`, OfficeOpsError when the file cannot be written.
    """
    file = folder / ".env"
    try:
        if not file.exists():
            with suppress(FileExistsError):  # somebody else was quicker: theirs counts
                return _make(file, _example(folder), overrides or {})
        return _complete(file.resolve())
    except OSError as error:
        raise OfficeOpsError(f"{file} could not be written: {error.strerror or error}.", state="Nothing was changed.") from error


def _example(folder: Path) -> str:
    example = folder / ".env.example"
    try:
        return example.read_bytes().decode()
    except (FileNotFoundError, UnicodeDecodeError) as error:
        raise UsageError(f"There is no {example}, in UTF-8, to make .env from.", todo="Run this in the project's folder.") from error


def _make(file: Path, text: str, overrides: Mapping[str, str]) -> list[str]:
    for key, value in overrides.items():
        text = _set(file, text, key, value)
    text, generated = _with_secrets(file, text)
    temporary = _written(file, text)
    try:
        os.link(temporary, file)  # unlike a rename, never over a file that is there
    finally:
        temporary.unlink()
    return generated


def _complete(file: Path) -> list[str]:
    try:
        before = file.read_bytes().decode()
    except UnicodeDecodeError:
        return []  # as below
    if parse_env(file, before)[1]:
        return []  # loading it will name what is wrong; guessing would make it worse
    text, generated = _with_secrets(file, before)
    if generated:
        owner = file.stat()
        temporary = _written(file, text)
        if os.geteuid() == 0:
            os.chown(temporary, owner.st_uid, owner.st_gid)
        temporary.rename(file)
    return generated


def _with_secrets(file: Path, text: str) -> tuple[str, list[str]]:
    present = parse_env(file, text)[0]
    missing = [key for key in map(str.upper, SECRETS) if key not in present or not present[key].value]
    for key in missing:
        text = _set(file, text, key, _generated(key))
    return text, missing


def _generated(key: str) -> str:
    value = secrets.token_hex(32 if key == "JWT_SECRET_KEY" else 16)
    return f"admin:{value}" if key == "PREFECT_AUTH_STRING" else value


def _set(file: Path, text: str, key: str, value: str) -> str:
    """`text` with the line of `key` replaced, or one more at its end."""
    present = parse_env(file, text)[0].get(key)
    parts = re.split(r"(\r\n|\n|\r)", text)  # lines at even places, their ends at odd ones
    if present is not None:
        parts[2 * (present.line - 1)] = f"{key}={value}"
        return "".join(parts)
    end = parts[1] if len(parts) > 1 else "\n"
    return text + (end if parts[-1] else "") + f"{key}={value}{end}"


def _written(file: Path, text: str) -> Path:
    """`text` in a file beside `file`, complete and on the disk, for its owner only."""
    temporary = file.with_name(f".env.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as out:
            out.write(text.encode())
            out.flush()
            os.fsync(out.fileno())
    except OSError:
        temporary.unlink()
        raise
    return temporary
