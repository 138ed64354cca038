"""Reading `.env`: every error at once, with file, line, key, what was found and what is allowed. Secrets are never shown."""

from __future__ import annotations

import difflib
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import SecretStr, ValidationError

from officeops.errors import Problem
from officeops.settings.model import PORTS, SECRETS, Settings

_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*?)\s*$")
_PLACEHOLDER = re.compile(r"change.?me|your[-_ ]|password|secret|example|placeholder|xxxx", re.IGNORECASE)


@dataclass(frozen=True)
class Entry:
    """A key's value and where it stands. line 0: it came from the process's environment."""

    value: str
    line: int


def parse_env(file: Path, text: str) -> tuple[dict[str, Entry], list[Problem]]:
    """KEY=value lines: quotes are taken off, `#` after white space begins a comment, nothing is expanded."""
    entries: dict[str, Entry] = {}
    problems = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _LINE.fullmatch(line)
        if found is None:
            problems.append(Problem(file, number, "(no key)", "a line without KEY=", "KEY=value, a comment, or nothing"))
            continue
        key, raw = found[1], found[2]
        if key in entries:
            problems.append(Problem(file, number, key, f"the key a second time (first in line {entries[key].line})", "each key once"))
        entries[key] = Entry(_unquoted(raw), number)
    return entries, problems


def _unquoted(raw: str) -> str:
    quoted = re.fullmatch(r"""(?:'([^']*)'|"((?:[^"\\]|\\.)*)")\s*(?:#.*)?""", raw)
    if quoted is None:
        return re.sub(r"(^|\s+)#.*$", "", raw)
    return quoted[1] if quoted[1] is not None else re.sub(r"\\(.)", r"\1", quoted[2])


def read_settings(folder: Path, environ: Mapping[str, str]) -> tuple[Settings | None, list[Problem]]:
    """The settings of `folder`, or None and every problem. Known keys in `environ` go before those of the file."""
    file = folder / ".env"
    try:
        text, mode = file.read_text(encoding="utf-8"), stat.S_IMODE(file.stat().st_mode)
    except FileNotFoundError:
        return None, [Problem(file, 0, ".env", "no such file", "`officeops up` or `make setup` makes it from .env.example")]
    except (OSError, UnicodeDecodeError) as error:
        return None, [Problem(file, 0, ".env", f"a file that cannot be read ({error})", "a text file in UTF-8")]
    entries, problems = parse_env(file, text)
    if mode & 0o077:
        problems.append(Problem(file, 0, ".env", f"mode {mode:04o}, readable by others", f"mode 0600: chmod 600 {file}"))
    problems += _unknown(file, entries)
    known = {name.upper(): name for name in Settings.model_fields}
    merged = {known[key]: entry for key, entry in entries.items() if key in known}
    merged |= {known[key]: Entry(value, 0) for key, value in environ.items() if key in known}
    settings, wrong = _validated(file, folder, merged)
    problems += wrong
    return (None, problems) if problems or settings is None else (settings, [])


def _unknown(file: Path, entries: Mapping[str, Entry]) -> list[Problem]:
    known = [name.upper() for name in Settings.model_fields]
    found = []
    for key, entry in entries.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            found.append(Problem(file, entry.line, key, "an unknown key", f"perhaps {near[0]}" if near else "a key of .env.example"))
    return found


def _validated(file: Path, folder: Path, entries: Mapping[str, Entry]) -> tuple[Settings | None, list[Problem]]:
    given = {name: entry.value for name, entry in entries.items() if entry.value != "" or name in SECRETS}
    lines = {name: entry.line for name, entry in entries.items()}
    try:
        settings = Settings.model_validate(given)
    except ValidationError as error:
        return None, [_problem(file, lines, given, raw) for raw in error.errors()]
    problems = _clashes(file, lines, settings)
    if not settings.officeops_demo:
        problems += _weak(file, lines, settings)
    return _absolute(settings, folder), problems


def _problem(file: Path, lines: Mapping[str, int], given: Mapping[str, Any], raw: Any) -> Problem:
    name = str(raw["loc"][0])
    allowed = str(raw.get("ctx", {}).get("error", "")) or _allowed(name, raw)
    found = "nothing" if name not in given else _shown(name, given[name])
    return Problem(file, lines.get(name, 0), name.upper(), found, allowed)


def _allowed(name: str, raw: Any) -> str:
    if name in PORTS:
        return "a port, 1 to 65535"
    choices = get_args(Settings.model_fields[name].annotation)
    if raw["type"] == "literal_error":
        return " or ".join(map(str, choices))
    if raw["type"] == "missing":
        return "a value: `officeops up` generates it in a new .env"
    return str(raw["msg"])


def _shown(name: str, value: str) -> str:
    field = Settings.model_fields[name]
    secret = SecretStr in (field.annotation, *get_args(field.annotation))
    return f"(hidden, {len(value)} characters)" if secret else repr(value)


def _clashes(file: Path, lines: Mapping[str, int], settings: Settings) -> list[Problem]:
    seen: dict[int, str] = {}
    problems = []
    for name in PORTS:
        port = getattr(settings, name)
        if port in seen:
            problems.append(Problem(file, lines.get(name, 0), name.upper(), f"{port}, which {seen[port].upper()} has", "a port of its own"))
        seen.setdefault(port, name)
    return problems


def _weak(file: Path, lines: Mapping[str, int], settings: Settings) -> list[Problem]:
    problems = []
    for name, least in SECRETS.items():
        value = getattr(settings, name).get_secret_value()
        if len(value) < least or len(set(value)) < 6 or _PLACEHOLDER.search(value):
            kind = "too short" if len(value) < least else "a placeholder"
            allowed = f"at least {least} characters that nobody can guess, such as from `openssl rand -hex 32`"
            problems.append(Problem(file, lines.get(name, 0), name.upper(), f"{_shown(name, value)}: {kind}", allowed))
    if ":" not in settings.prefect_auth_string.get_secret_value():
        problems.append(Problem(file, lines.get("prefect_auth_string", 0), "PREFECT_AUTH_STRING", "no colon", "user:password"))
    return problems


def _absolute(settings: Settings, folder: Path) -> Settings:
    def resolve(path: Path) -> Path:
        return (folder / path.expanduser()).absolute()

    targets = tuple(
        f"file:{resolve(Path(url.removeprefix('file:')))}" if url.startswith("file:") else url for url in settings.backup_targets
    )
    identity = settings.backup_age_identity_file
    return settings.model_copy(
        update={
            "officeops_home": resolve(settings.officeops_home),
            "officeops_app": resolve(settings.officeops_app),
            "backup_targets": targets,
            "backup_age_identity_file": resolve(identity) if identity else None,
        }
    )
