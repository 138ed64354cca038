"""Making `.env`: from `.env.example`, with secrets of its own, readable by its owner only."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from officeops.errors import OfficeOpsError, UsageError
from officeops.settings.env import parse_env, with_value
from officeops.settings.model import SECRETS

_TEMPORARY = ".env.new"  # one name, so that what a killed run left is found by the next


def ensure_env(folder: Path, overrides: Mapping[str, str] | None = None) -> list[str]:
    """Makes `.env` when there is none, and fills the secrets that are empty or missing. Everything else stays as it is, to the byte.

    overrides: for a new file only, what is written behind `KEY=` (see `env.quoted` for values with spaces or quotes).
    Returns the keys that were generated. Raises UsageError without `.env.example`, OfficeOpsError when the file cannot be written.
    """
    file = Path(os.path.realpath(folder / ".env"))  # behind a link: the link stays
    try:
        with _alone_in(file.parent):
            if file.exists():
                return _complete(file)
            text = _example(folder)
            for key, value in (overrides or {}).items():
                text = with_value(text, key, value)
            text, generated = _with_secrets(file, text)
            _publish(file, text)
            return generated
    except OSError as error:
        raise OfficeOpsError(
            f"{file} could not be made or completed: {error.filename or file}: {error.strerror or error}.", state="Nothing was changed."
        ) from error


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Two first starts at once would each generate secrets, and one would lose those that it already uses."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        (folder / _TEMPORARY).unlink(missing_ok=True)
        yield
    finally:
        os.close(descriptor)


def _example(folder: Path) -> str:
    example = folder / ".env.example"
    try:
        return example.read_bytes().decode()
    except FileNotFoundError as error:
        raise UsageError(
            f"There is no {example} to make .env from.", state="Nothing was changed.", todo="Run this in the project's folder."
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{example} is no text in UTF-8.", state="Nothing was changed.", todo="Take the one that comes with this program."
        ) from error


def _complete(file: Path) -> list[str]:
    try:
        before = file.read_bytes().decode()
    except UnicodeDecodeError:
        return []  # as below
    if parse_env(file, before)[1]:
        return []  # loading it will name what is wrong; guessing would make it worse
    text, generated = _with_secrets(file, before)
    if generated:
        _publish(file, text)
    return generated


def _with_secrets(file: Path, text: str) -> tuple[str, list[str]]:
    present = parse_env(file, text)[0]
    missing = [key for key in map(str.upper, SECRETS) if key not in present or not present[key].value.strip()]
    for key in missing:
        text = with_value(text, key, _generated(key))
    return text, missing


def _generated(key: str) -> str:
    value = secrets.token_hex(32 if key == "JWT_SECRET_KEY" else 16)
    return f"admin:{value}" if key == "PREFECT_AUTH_STRING" else value


def _publish(file: Path, text: str) -> None:
    """`text` as `file`, for its owner only: complete on the disk, or not there at all."""
    temporary = file.with_name(_TEMPORARY)
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as out:
            if file.exists() and os.geteuid() == 0:
                os.fchown(descriptor, file.stat().st_uid, file.stat().st_gid)
            out.write(text.encode())
            out.flush()
            os.fsync(descriptor)
        temporary.rename(file)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
