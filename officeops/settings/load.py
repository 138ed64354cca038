"""Reading `.env`: every error at once, with file, line, key, what was found and what is allowed. Secrets are never shown."""

from __future__ import annotations

import difflib
import re
import shlex
import stat
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import SecretStr, ValidationError

from officeops.errors import Problem
from officeops.settings.env import Entry, invisible, lines_of, parse_env
from officeops.settings.model import PORTS, SECRETS, Settings, is_secret
from officeops.settings.values import shown, target_path

ENVIRONMENT = Path("(environment)")
_PLACEHOLDER = re.compile(r"change.?me|your[-_ ]|password|secret|example|placeholder|xxxx", re.IGNORECASE)
_DISTINCT = 6  # characters that a secret has at least: "aaaa..." and "abab..." are none
_PATTERNS = {
    "officeops_host": "letters, digits, dots, - and _, at most 63",
    "ollama_model": "the name of a model, without spaces",
    "ollama_memory": "a number with k, m or g behind it, such as 16g",
    "aws_region": "lower-case letters, digits and -",
}
_KEYS = {name.upper(): name for name in Settings.model_fields}
Finding = tuple[str, str, str]  # field, found, allowed


def read_settings(folder: Path, environ: Mapping[str, str]) -> tuple[Settings | None, list[Problem]]:
    """The settings of `folder`, or None and every problem. Known keys that `environ` gives a value go before those of the file."""
    file = folder / ".env"
    try:
        content, mode = file.read_bytes(), stat.S_IMODE(file.stat().st_mode)
        text = content.decode()
    except FileNotFoundError:
        return None, [Problem(file, 0, "(file)", "no such file", "the one that `officeops up` makes from .env.example")]
    except OSError as error:
        return None, [Problem(file, 0, "(file)", f"a file that cannot be read ({error.strerror})", "a text file in UTF-8")]
    except UnicodeDecodeError as error:
        line = len(lines_of(content[: error.start].decode()))
        return None, [Problem(file, line, "(file)", "bytes that are no UTF-8", "a text file in UTF-8")]
    entries, problems = parse_env(file, text)
    if mode & 0o077:
        problems.append(Problem(file, 0, "(file)", f"mode {mode:04o}, open to others", f"mode 0600: chmod 600 {shlex.quote(str(file))}"))
    problems += _unknown(entries)
    known = {_KEYS[key]: entry for key, entry in entries.items() if key in _KEYS}
    given, unseen = _from_environment(environ)
    known, problems = known | given, problems + unseen
    refused = {_KEYS[problem.key] for problem in problems if problem.key in _KEYS}
    settings, findings = _validated(folder, {name: entry.value for name, entry in known.items() if entry.value.strip()}, refused)
    nowhere = Entry("", 0, file)
    for name, found, allowed in findings:
        at = known.get(name, nowhere)
        problems.append(Problem(at.source, at.line, name.upper(), found, allowed))
    return (None, sorted(problems, key=lambda problem: problem.line)) if problems else (settings, [])


def _from_environment(environ: Mapping[str, str]) -> tuple[dict[str, Entry], list[Problem]]:
    entries, problems = {}, []
    for key, value in environ.items():
        if key not in _KEYS or not value.strip():
            continue
        entries[_KEYS[key]] = Entry(value, 0, ENVIRONMENT)
        if unseen := invisible(value):
            problems.append(Problem(ENVIRONMENT, 0, key, f"a character that nobody can see ({unseen})", "printable characters"))
    return entries, problems


def _unknown(entries: Mapping[str, Entry]) -> list[Problem]:
    problems = []
    for key, entry in entries.items():
        if key not in _KEYS:
            near = difflib.get_close_matches(key.upper(), _KEYS, 1)
            allowed = f"perhaps {near[0]}" if near else "a key of .env.example"
            problems.append(Problem(entry.source, entry.line, key, "an unknown key", allowed))
    return problems


def _validated(folder: Path, given: Mapping[str, str], refused: Collection[str]) -> tuple[Settings, list[Finding]]:
    """refused: fields that were found wrong already. What is wrong is left out, so that the rest is checked all the same."""
    findings: list[Finding] = []
    wrong = set(refused)
    try:
        settings = Settings.model_validate(given)
    except ValidationError as error:
        raw = [one for one in error.errors() if one["loc"][0] not in refused]
        findings = [(str(one["loc"][0]), _found(one), _allowed(one)) for one in raw]
        wrong |= {str(one["loc"][0]) for one in error.errors()}
        right = {name: value for name, value in given.items() if name not in wrong}
        settings = Settings.model_validate({**dict.fromkeys(wrong & SECRETS.keys(), "-"), **right})
    settings = _absolute(settings, folder)
    findings += [finding for finding in _crossed(settings, wrong) if finding[0] not in wrong]
    return settings, findings


def _found(raw: Any) -> str:
    name, value = str(raw["loc"][0]), raw["input"]
    if raw["type"] == "missing":
        return "nothing"
    return _hidden(value) if is_secret(name) else repr(shown(str(value)))


def _allowed(raw: Any) -> str:
    name = str(raw["loc"][0])
    if name in PORTS:
        return "a port, 1 to 65535"
    match raw["type"]:
        case "missing":
            return "a value: `officeops up` generates it"
        case "value_error":
            return str(raw["ctx"]["error"])
        case "literal_error":
            return " or ".join(map(str, get_args(Settings.model_fields[name].annotation)))
        case "bool_parsing":
            return "true or false"
        case "string_pattern_mismatch":
            return _PATTERNS[name]
        case _:
            return str(raw["msg"]).removeprefix("Input should be ")


def _hidden(value: str | SecretStr) -> str:
    return f"(hidden, {len(value)} characters)"


def _crossed(settings: Settings, wrong: Collection[str]) -> Iterator[Finding]:
    """What no single value can show. wrong: fields that hold a stand-in here."""
    yield from _same_ports(settings, wrong)
    yield from _repeated_targets(settings)
    if ":" not in settings.prefect_auth_string.get_secret_value().strip(":"):
        yield "prefect_auth_string", f"{_hidden(settings.prefect_auth_string)}, no user and password", "user:password"
    elif not settings.prefect_auth_string.get_secret_value().isascii():
        # The server would answer every request with an error.
        yield "prefect_auth_string", f"{_hidden(settings.prefect_auth_string)}, not in ASCII only", "user:password of ASCII characters"
    elif not settings.officeops_demo:
        yield from _weak(settings, ("prefect_auth_string",))
    if not settings.officeops_demo:
        yield from _weak(settings, [name for name in SECRETS if name != "prefect_auth_string"])
    for one, other in (("aws_access_key_id", "aws_secret_access_key"), ("aws_secret_access_key", "aws_access_key_id")):
        if getattr(settings, one) is None and getattr(settings, other) is not None:
            yield one, "nothing", f"a value, as {other.upper()} has one; or both empty"


def _same_ports(settings: Settings, wrong: Collection[str]) -> Iterator[Finding]:
    seen: dict[int, str] = {}
    for name in sorted(PORTS, key=lambda name: name in settings.model_fields_set):  # the line to blame is one that is there
        port = getattr(settings, name)
        if name not in wrong and seen.setdefault(port, name) != name:
            yield name, f"{port}, which {seen[port].upper()} has", "a port of its own"


def _repeated_targets(settings: Settings) -> Iterator[Finding]:
    seen: dict[str, str] = {}
    for url in settings.backup_targets:
        bare, _, parameters = url.partition("?")
        first = seen.setdefault(f"{bare.rstrip('/')}?{parameters}", url)
        if first is not url:
            yield "backup_targets", f"{url} and {first}, which are one", "each target once"


def _weak(settings: Settings, names: Collection[str]) -> Iterator[Finding]:
    for name in names:
        secret, least = getattr(settings, name), SECRETS[name]
        tested = secret.get_secret_value()
        if name == "prefect_auth_string":
            tested = tested.split(":", 1)[1]
        placeholder = len(set(tested)) < _DISTINCT or _PLACEHOLDER.search(tested)
        if placeholder or len(tested) < least:
            kind = "a placeholder" if placeholder else "too short"
            allowed = f"at least {least} characters that nobody can guess, such as `openssl rand -hex 32` prints"
            yield name, f"{_hidden(secret)}: {kind}", allowed


def _absolute(settings: Settings, folder: Path) -> Settings:
    def resolve(path: Path) -> Path:
        return (folder / path).absolute()

    def target(url: str) -> str:
        return f"file:{resolve(target_path(url))}" if url.startswith("file:") else url

    identity = settings.backup_age_identity_file
    return settings.model_copy(
        update={
            "officeops_home": resolve(settings.officeops_home),
            "officeops_app": resolve(settings.officeops_app),
            "backup_targets": tuple(map(target, settings.backup_targets)),
            "backup_age_identity_file": resolve(identity) if identity else None,
        }
    )
