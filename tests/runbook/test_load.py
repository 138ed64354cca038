"""Reading `runbook.yaml`: every mistake with its line, all at once, whatever the file holds."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from officeops.errors import Problem
from officeops.runbook import Runbook
from officeops.runbook.load import read_runbook
from tests.support.site import PROJECT

# Mistakes are made in this one, by replacing a line.
GOOD = """\
version: 1
stack: office
title: Office
application:
  migrate: {command: ["{venv}/bin/alembic"], environment: &common {PGPORT: "{postgres_port}", HOST: localhost}}
services:
  postgres: {kind: postgres, port: POSTGRES_PORT}
  redis: {kind: redis, port: REDIS_PORT}
  backend:
    kind: app
    port: BACKEND_PORT
    depends_on: [postgres, redis]
    health: {path: /ready}
    writes_database: true
    local:
      command: ["{venv}/bin/python", "--port", "{port}"]
      environment:
        <<: *common
        PGPASSWORD: "{postgres_password}"
  caddy: {kind: caddy, port: HTTP_PORT, depends_on: [backend]}
database:
  smoke: [{name: users, sql: SELECT 1}]
backups: {retention: {daily: 7}}
contacts:
  - {role: development_lead, name: Aiko}
"""
BACKEND = 9  # the line of the service


def lines() -> list[str]:
    return GOOD.split("\n")[:-1]


def changed(number: int, *instead: str) -> str:
    """GOOD with other lines in place of one, counted from 1."""
    given = lines()
    return "\n".join([*given[: number - 1], *instead, *given[number:]]) + "\n"


def problems_of(folder: Path, text: str | bytes) -> list[Problem]:
    file = folder / "runbook.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    runbook, problems = read_runbook(file)
    assert (runbook is None) == bool(problems)
    assert all(problem.file == file for problem in problems)
    return problems


def told(folder: Path, text: str | bytes) -> list[tuple[int, str, str, str]]:
    return [(problem.line, problem.key, problem.found, problem.allowed) for problem in problems_of(folder, text)]


def read(folder: Path, text: str) -> Runbook:
    assert [str(problem) for problem in problems_of(folder, text)] == []
    runbook, _ = read_runbook(folder / "runbook.yaml")
    assert runbook is not None
    return runbook


KEYS = (
    "one of advice, alerts, application, approvals, archives, backups, contacts, database, logs, probes, rebuild, releases, remedies, runs, services, stack, "
    "title, version, volumes"
)
PORTS = "one of HTTP_PORT, POSTGRES_PORT, REDIS_PORT, OLLAMA_PORT, BACKEND_PORT, BACKEND_GREEN_PORT, FRONTEND_PORT, FRONTEND_GREEN_PORT"
TEXT = "text; in quotes where YAML sees something else"
NAME = "a name: small letters, digits, _ and -, a letter first, at most 63"
OWN = "release, venv, sha, caddy, python"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # wrong values
        (changed(1, "version: one"), (1, "version", "'one'", "1")),
        (changed(1, "version: 2"), (1, "version", "2", "1; a newer file needs a newer version of this program")),
        (changed(1, "version: 2", "novelty: x"), (1, "version", "2", "1; a newer file needs a newer version of this program")),
        (changed(1, "# nothing"), (1, "version", "nothing", "a value")),
        (changed(2, "stack: Big Office"), (2, "stack", "'Big Office'", NAME)),
        (changed(2, "stack: 7"), (2, "stack", "7 (a number)", TEXT)),
        (changed(3, "title: 2026-01-02"), (3, "title", "2026-01-02 (a date)", TEXT)),
        (changed(3, "title: yes"), (3, "title", "true (a yes or no)", TEXT)),
        (changed(3, "title:"), (3, "title", "nothing", TEXT)),
        (changed(3, "title: ''"), (3, "title", "''", "some text")),
        (changed(3, f"title: [{'x, ' * 99}]"), (3, "title", "a list", TEXT)),
        (changed(4, "application:", "  lock: /etc/passwd"), (5, "application.lock", "'/etc/passwd'", "a path inside the release: relative, without ..")),
        (changed(4, "application:", "  lock: a/../../b"), (5, "application.lock", "'a/../../b'", "a path inside the release: relative, without ..")),
        (changed(10, "    kind: mysql"), (10, "services.backend.kind", "'mysql'", "app, postgres, redis, ollama, caddy or other")),
        (changed(10, "    kind:"), (10, "services.backend.kind", "nothing", "app, postgres, redis, ollama, caddy or other")),
        (changed(12, "    depends_on: postgres"), (12, "services.backend.depends_on", "'postgres'", "a list")),
        (changed(13, "    health: /ready"), (13, "services.backend.health", "'/ready'", "keys and values")),
        (changed(13, "    health: {path: ready}"), (13, "services.backend.health.path", "'ready'", "a path from /, without spaces")),
        (changed(13, "    health: {path: /, timeout: 61}"), (13, "services.backend.health.timeout", "61 (a number)", "less than or equal to 60")),
        (changed(13, "    health: {path: /, timeout: .nan}"), (13, "services.backend.health.timeout", "nan (a number)", "a number")),
        (changed(13, "    health: {timeout: 1}"), (13, "services.backend.health.path", "nothing", "a value")),
        (changed(14, "    writes_database: 1"), (14, "services.backend.writes_database", "1 (a number)", "true or false")),
        (changed(14, "    stop_grace: '30'"), (14, "services.backend.stop_grace", "'30'", "a number")),
        (changed(14, "    stop_grace: 0"), (14, "services.backend.stop_grace", "0 (a number)", "greater than 0")),
        (changed(14, "    stop_grace: .inf"), (14, "services.backend.stop_grace", "inf (a number)", "a number")),
        (changed(16, "      command: []"), (16, "services.backend.local.command", "a list", "at least one")),
        (changed(16, "      command:", "        - a", "        - 1"), (18, "services.backend.local.command.1", "1 (a number)", TEXT)),
        (changed(16, '      command: ["a\\0b"]'), (16, "services.backend.local.command.0", "'a\\x00b'", "text without the character U+0000")),
        (changed(19, "        PGPASSWORD: 12345678"), (19, "services.backend.local.environment.PGPASSWORD", "a number", TEXT)),
        (changed(19, "        PG-PASSWORD: x"),
         (19, "services.backend.local.environment.PG-PASSWORD", "text", "the name of a variable: letters, digits and _, no digit first")),
        (changed(22, "  smoke: [{name: users}]"), (22, "database.smoke.0.sql", "nothing", "a value")),
        (changed(23, "backups: {retention: {keep_last: 0}}"), (23, "backups.retention.keep_last", "0 (a number)", "greater than or equal to 1")),
        (changed(23, "backups: {retention: {daily: yes}}"), (23, "backups.retention.daily", "true (a yes or no)", "a whole number")),
        (changed(23, "backups: {retention: {daily: 1.5}}"), (23, "backups.retention.daily", "1.5 (a number)", "a whole number")),
        (changed(23, "backups: {level: 20}"), (23, "backups.level", "20 (a number)", "less than or equal to 19")),
        (changed(23, "backups:"), (23, "backups", "nothing", "keys and values")),
        (changed(25, "  - {role: boss, name: Aiko}"), (25, "contacts.0.role", "'boss'", "system_administrator, database_administrator or development_lead")),
        # unknown keys
        (changed(3, "title: Office", "tittle: Office"), (4, "tittle", "an unknown key", "perhaps title")),
        (changed(3, "title: Office", "wholly: different"),
         (4, "wholly", "an unknown key", KEYS)),
        (changed(12, "    dependson: [postgres]"), (12, "services.backend.dependson", "an unknown key", "perhaps depends_on")),
        (changed(13, "    health: {path: /, timout: 3}"), (13, "services.backend.health.timout", "an unknown key", "perhaps timeout")),
        (changed(16, "      command: [a]", "      shell: true"), (17, "services.backend.local.shell", "an unknown key", "one of command, directory, environment")),
        (changed(22, "  smoke: [{name: a, sql: b}, {name: a, sql: b, sq: c}]"), (22, "database.smoke.1.sq", "an unknown key", "perhaps sql")),
        # keys
        (changed(7, "  on: {kind: redis, port: OLLAMA_PORT}", lines()[6]), (7, "services", "the key on, which YAML reads as a yes or no", 'text: "on" in quotes')),
        (changed(19, "        NO: x"), (19, "services.backend.local.environment", "the key NO, which YAML reads as a yes or no", 'text: "NO" in quotes')),
        (changed(3, "title: Office", "? [a, b]", ": c"), (4, "(file)", "a list or a mapping as a key", "a name, then a colon")),
        (changed(7, "  Post Gres: {kind: redis, port: OLLAMA_PORT}", lines()[6]), (7, "services.Post Gres", "'Post Gres'", NAME)),
        (changed(14, "    kind: app"), (14, "services.backend.kind", "the key a second time (first in line 10)", "each key once")),
        (changed(8, lines()[7], lines()[7]), (9, "services.redis", "the key a second time (first in line 8)", "each key once")),
        # names that must exist, parts that belong together
        (changed(12, "    depends_on:", "      - postgres", "      - rediss"), (14, "services.backend.depends_on.1", "'rediss'", "perhaps redis")),
        (changed(12, "    depends_on: [Wholly Different]"), (12, "services.backend.depends_on.0", "'Wholly Different'", "one of postgres, redis, backend, caddy")),
        (changed(11, "    port: BACKENDPORT"), (11, "services.backend.port", "'BACKENDPORT'", "perhaps BACKEND_PORT")),
        (changed(11, "    port: 'x'"), (11, "services.backend.port", "'x'", PORTS)),
        (changed(11, "    port: 8000"), (11, "services.backend.port", "8000 (a number)", TEXT)),
        (changed(11, "    port: PREFECT_PORT"), (11, "services.backend.port", "'PREFECT_PORT'", PORTS)),
        (changed(11, "    port: REDIS_PORT"), (11, "services.backend.port", "REDIS_PORT, which redis has", "a port of its own")),
        (changed(7, "  postgres: {kind: postgres, port: OLLAMA_PORT}"), (7, "services.postgres.port", "'OLLAMA_PORT'", "POSTGRES_PORT, where backups look for it")),
        (changed(13, "    # no health"), (9, "services.backend.health", "nothing", "how an app is asked whether it is ready")),
        (changed(8, "  redis: {kind: redis, port: REDIS_PORT, health: {path: /}}"),
         (8, "services.redis.health", "a check for a service of kind redis", "none: it is asked in its own way")),
        (changed(8, "  redis: {kind: redis, port: REDIS_PORT, writes_database: true}"),
         (8, "services.redis.writes_database", "true for a service of kind redis", "true for apps only")),
        (changed(20, "  caddy: {kind: caddy, port: HTTP_PORT, local: {command: [x]}}"),
         (20, "services.caddy.local", "a program for a service of kind caddy", "none: this program brings its own")),
        (changed(8, "  redis: {kind: caddy, port: REDIS_PORT}"), (6, "services", "2 services of kind caddy (redis, caddy)", "exactly one")),
        (changed(20, "  # no caddy"), (6, "services", "0 services of kind caddy", "exactly one")),
        (changed(22, "  service: redis"), (22, "database.service", "'redis'", "the service of kind postgres")),
        (changed(8, "  redis: {kind: redis, port: REDIS_PORT, depends_on: [redis]}"),
         (8, "services.redis.depends_on", "a circle: redis waits for redis", "services that can start one after the other")),
        (changed(8, "  redis: {kind: redis, port: REDIS_PORT, depends_on: [backend]}"),
         (8, "services.redis.depends_on", "a circle: redis waits for backend, backend waits for redis", "services that can start one after the other")),
        (changed(8, "  redis: {kind: redis, port: REDIS_PORT, container_port: 1}"),
         (8, "services.redis.container_port", "a port for a service of kind redis", "none: it listens on its own")),
        (changed(14, "    container_port: 65536"), (14, "services.backend.container_port", "65536 (a number)", "less than or equal to 65535")),
        (changed(8, "  redis: {kind: other}"), (8, "services.redis.kind", "other", "what the embedded stack can run, or application.compose")),
        (changed(8, "  redis: {kind: redis}"), (8, "services.redis.port", "nothing", "a value")),
        (changed(4, "volumes: {uploads: {services: [backend, fronted]}}", "application:"),
         (4, "volumes.uploads.services.1", "'fronted'", "one of postgres, redis, backend, caddy")),
        (changed(4, "volumes: {uploads: {folder: ../elsewhere}}", "application:"),
         (4, "volumes.uploads.folder", "'../elsewhere'", "a path inside the release: relative, without ..")),
        (changed(4, "application:", "  compose: {migrate: {service: backends, command: [a]}}"),
         (5, "application.compose.migrate.service", "'backends'", "perhaps backend")),
        (changed(4, "application:", "  compose: {seed: {service: backend, command: ['{venv}/bin/a']}}"),
         (5, "application.compose.seed.command.0", "{venv}", "a key of .env in lower case, or sha; {{venv}} for the text {venv}")),
        (changed(4, "application:", "  compose: {seed: {service: backend, command: ['{jwt_secret_key}']}}"),
         (5, "application.compose.seed.command.0", "{jwt_secret_key}, a secret, in a command, which all users of the host can see", "secrets in environment")),
        # placeholders
        (changed(16, '      command: ["{releese}"]'), (16, "services.backend.local.command.0", "{releese}", "perhaps {release}")),
        (changed(19, '        A: "{POSTGRES_PORT}"'), (19, "services.backend.local.environment.A", "{POSTGRES_PORT}", "perhaps {postgres_port}")),
        (changed(19, '        A: "${HOME}"'),
         (19, "services.backend.local.environment.A", "{HOME}", f"a key of .env in lower case, or {OWN}, port; {{{{HOME}}}} for the text {{HOME}}")),
        (changed(5, '  migrate: {command: ["{port}"], environment: &common {}}'),
         (5, "application.migrate.command.0", "{port}", f"a key of .env in lower case, or {OWN}; {{{{port}}}} for the text {{port}}")),
        (changed(16, '      command: [a, "--key={jwt_secret_key}"]'),
         (16, "services.backend.local.command.1", "{jwt_secret_key}, a secret, in a command, which all users of the host can see", "secrets in environment")),
        # YAML
        (changed(18, "        <<: *comon"), (18, "(syntax)", "undefined alias 'comon'", "YAML, indented with spaces")),
        (changed(18, "        <<: [*common, 7]"),
         (18, "services.backend.local.environment.<<", "something else than keys and values to merge", "<<: *name of a mapping")),
        (changed(3, "title: !!python/name:os.system x"), (3, "title", "the tag !!python/name:os.system", "no tags")),
        (changed(3, "title: !mine x"), (3, "title", "the tag !mine", "no tags")),
        (changed(2, "stack: 2026-13-45"), (2, "stack", "a value that YAML refuses (month must be in 1..12)", "text in quotes")),
        (changed(3, "title: 'open"),
         (26, "(syntax)", "unexpected end of stream (while scanning a quoted scalar, which begins in line 3)", "YAML, indented with spaces")),
        (changed(3, "\ttitle: x"), (3, "(syntax)", "character '\\t' that cannot start any token", "YAML, indented with spaces")),
        (changed(3, "title: a: b"), (3, "(syntax)", "mapping values are not allowed here", "YAML, indented with spaces")),
        (changed(3, "title: \x07"), (3, "(syntax)", "a character that YAML does not allow (U+0007)", "printable characters")),
        (changed(3, "title: x", "---", "title: y"),
         (4, "(syntax)", "another document (expected a single document in the stream, which begins in line 1)", "YAML, indented with spaces")),
    ],
)  # fmt: skip
def test_a_mistake_is_named_once_with_its_line(folder: Path, text: str, expected: tuple[int, str, str, str]) -> None:
    assert told(folder, text) == [expected]


def test_a_good_one_is_read(folder: Path) -> None:
    runbook = read(folder, GOOD)
    assert list(runbook.services) == ["postgres", "redis", "backend", "caddy"]
    assert runbook.writers() == ("backend",)
    assert (runbook.backups.retention.daily, runbook.backups.retention.weekly) == (7, 4)


def test_the_one_that_comes_with_the_program_is_read() -> None:
    assert read_runbook(PROJECT / "runbook.yaml")[1] == []


@pytest.mark.parametrize("before", ["\ufeff", "---\n", "%YAML 1.1\n---\n", "\n# comment\n"])
def test_what_may_stand_before_it(folder: Path, before: str) -> None:
    read(folder, before + GOOD)


def test_line_ends_of_other_systems_count_the_same(folder: Path) -> None:
    assert told(folder, changed(25, "  - {role: boss, name: x}").replace("\n", "\r\n"))[0][0] == 25


def test_merged_keys_give_way_to_those_that_are_written(folder: Path) -> None:
    text = changed(18, "        <<: [*common, {HOST: second, MORE: x}]", "        PGPORT: mine")
    local = read(folder, text).services["backend"].local
    assert local is not None
    assert local.environment == {"PGPORT": "mine", "HOST": "localhost", "MORE": "x", "PGPASSWORD": "{postgres_password}"}


def test_a_mistake_in_what_is_merged_is_named_where_it_is_written(folder: Path) -> None:
    text = changed(5, lines()[4].replace("localhost", "1"))
    assert {(problem.line, problem.key) for problem in problems_of(folder, text)} == {
        (5, "application.migrate.environment.HOST"),
        (5, "services.backend.local.environment.HOST"),
    }


def test_doubled_braces_and_those_of_other_languages_are_text(folder: Path) -> None:
    text = changed(19, '        A: \'{{port}} ${{HOME}} {"a": {"b": 1}} {} { x } }{\'')
    read(folder, text)


def test_every_mistake_is_named_at_once_in_the_order_of_lines(folder: Path) -> None:
    text = changed(25, "  - {name: Aiko, phone: 1}").replace("kind: app", "kind: ap").replace("stack: office", "stack: Office")
    text = text.replace("daily: 7", "daly: 7").replace("kind: redis", "kind: redis, depends_on: [postgrs]").replace("{port}", "{prt}")
    text = (
        text.replace("title: Office", "1: x")
        .replace("HTTP_PORT", "HTTPPORT")
        .replace("depends_on: [backend]", "depends_on: [caddy, backend]")
    )
    assert [(line, key) for line, key, _, _ in told(folder, text)] == [
        (1, "title"),
        (2, "stack"),
        (3, "(file)"),
        (3, "1"),
        (8, "services.redis.depends_on.0"),
        (10, "services.backend.kind"),
        (20, "services.caddy.port"),
        (20, "services.caddy.depends_on"),
        (23, "backups.retention.daly"),
        (25, "contacts.0.role"),
        (25, "contacts.0.phone"),
    ]


def test_a_secret_may_be_in_a_variable_whatever_its_name(folder: Path) -> None:
    read(folder, changed(19, '        command: "{jwt_secret_key}"'))


def test_every_circle_is_named(folder: Path) -> None:
    extra = [
        f"  {name}: {{kind: ollama, port: {port}, depends_on: [{other}]}}"
        for name, port, other in (("a", "OLLAMA_PORT", "b"), ("b", "FRONTEND_PORT", "a"))
    ]
    text = changed(8, "  redis: {kind: redis, port: REDIS_PORT, depends_on: [backend]}", *extra)
    assert [found for _, _, found, _ in told(folder, text)] == [
        "a circle: redis waits for backend, backend waits for redis",
        "a circle: a waits for b, b waits for a",
    ]


def test_a_service_with_a_mistake_is_still_a_service_for_the_others(folder: Path) -> None:
    assert [key for _, key, _, _ in told(folder, changed(10, "    kind: ap"))] == ["services.backend.kind"]


def test_a_password_of_the_wrong_type_is_not_shown(folder: Path) -> None:
    assert "20260102" not in str(problems_of(folder, changed(19, "        PGPASSWORD: 20260102")))


def laughs(template: str) -> str:
    """Each line stands for nine of the one before."""
    names = [f"a{number}" for number in range(30)]
    return "a0: &a0 {x: 1}\n" + "".join(
        f"{one}: &{one} {template.format(', '.join([f'*{before}'] * 9))}\n" for before, one in pairwise(names)
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "nothing"),
        ("# only a comment\n", "nothing"),
        ("- a\n- b\n", "a list where keys and values should be"),
        ("just words\n", "text where keys and values should be"),
        (b"title: \xff\n", "bytes that are no UTF-8"),
        (b"\x00\x01", "a character that YAML does not allow (U+0000)"),
        ("#" * 300_000, "more than 256 KiB"),
        ("[" * 100_000, "more than 32 levels"),
        ("a: " + "{a: " * 50_000, "more than 32 levels"),
        ("- " * 100_000, "more than 32 levels"),
        ("".join(" " * level + "a:\n" for level in range(600)), "more than 32 levels"),
        (laughs("[{}]"), "more than 20000 values, counting what aliases repeat"),
        (laughs("{{<<: [{}]}}"), "more than 20000 values, counting what aliases repeat"),
        ("a: &a [*a]\n", "more than 32 levels, or a value inside itself"),
        ("a: &a {b: *a}\n", "more than 32 levels, or a value inside itself"),
        ("a: &a {<<: *a}\n", "more than 32 levels, or a value inside itself"),
        ("a: <<\n", "could not determine a constructor for the tag 'tag:yaml.org,2002:merge'"),
    ],
    ids=lambda given: repr(given)[:20],
)
def test_no_file_hangs_it_or_gets_a_traceback(folder: Path, text: str | bytes, found: str) -> None:
    assert [problem.found for problem in problems_of(folder, text)] == [found]


def test_a_number_of_ten_thousand_digits_is_a_problem(folder: Path) -> None:
    (problem,) = problems_of(folder, changed(3, f"title: {'9' * 10_000}"))
    assert (problem.line, problem.key) == (3, "title")
    assert len(str(problem)) < 300


def test_a_missing_file_is_a_problem(folder: Path) -> None:
    runbook, (problem,) = read_runbook(folder / "runbook.yaml")
    assert runbook is None
    assert problem.found == "a file that cannot be read (No such file or directory)"


def test_a_folder_in_its_place_is_a_problem(folder: Path) -> None:
    assert read_runbook(folder)[1][0].found == "a file that cannot be read (Is a directory)"


def test_an_application_for_compose_only_needs_neither_ports_nor_programs(tmp_path: Path) -> None:
    runbook = read(
        tmp_path,
        """\
version: 1
stack: shop
title: Shop
application: {compose: {file: compose.yaml}}
services:
  db: {kind: postgres}
  web: {kind: app, health: {path: /up}, container_port: 3000}
  queue: {kind: other, depends_on: [db]}
  door: {kind: caddy}
database: {service: db}
""",
    )
    assert [service.port for service in runbook.services.values()] == [None] * 4
