"""Reading `.env`: every error at once, each with its line; secrets in none of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from officeops.errors import Problem
from officeops.settings import Settings
from officeops.settings.env import quoted
from officeops.settings.load import read_settings
from officeops.settings.model import PORTS, is_secret

GOOD = {
    "POSTGRES_PASSWORD": "f0a1b2c3d4e5f6a7b8c9",
    "JWT_SECRET_KEY": "0123456789abcdef0123456789abcdef",
    "PREFECT_AUTH_STRING": "admin:9f8e7d6c5b4a39281706",
    "PREFECT_POSTGRES_PASSWORD": "a9b8c7d6e5f4a3b2c1d0",
}
RECIPIENT = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
MANY = "h" + "7Qz-Wk" * 6  # a value that would be seen anywhere


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def write(folder: Path, text: str, mode: int = 0o600) -> None:
    (folder / ".env").write_bytes(text.encode())
    (folder / ".env").chmod(mode)


def with_keys(**keys: str) -> str:
    """A whole `.env`; an empty string leaves the key empty. What is given stands from line 1."""
    return "".join(
        f"{key}={quoted(value)}\n" for key, value in {**keys, **{key: value for key, value in GOOD.items() if key not in keys}}.items()
    )


def read(folder: Path, environ: dict[str, str] | None = None, **keys: str) -> Settings:
    write(folder, with_keys(**keys))
    settings, problems = read_settings(folder, environ or {})
    assert [str(problem) for problem in problems] == []
    assert settings is not None
    return settings


def refused(folder: Path, environ: dict[str, str] | None = None, **keys: str) -> list[tuple[int, str, str, str]]:
    write(folder, with_keys(**keys))
    settings, problems = read_settings(folder, environ or {})
    assert settings is None
    return [(problem.line, problem.key, problem.found, problem.allowed) for problem in problems]


SECRET_RULE = "at least {} characters that nobody can guess, such as `openssl rand -hex 32` prints"
IMAGE_RULE = "an image with its tag, such as postgres:18-bookworm; never latest, which is another one tomorrow"
TARGET_RULE = "file:PATH or s3://BUCKET/PREFIX?endpoint=URL; credentials go into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"


@pytest.mark.parametrize(
    ("key", "value", "found", "allowed"),
    [
        ("TZ", "Asia/Tokio", "'Asia/Tokio'", "the name of a time zone, such as Asia/Tokyo or UTC"),
        ("TZ", "Asia", "'Asia'", "the name of a time zone, such as Asia/Tokyo or UTC"),
        ("TZ", "../../etc/passwd", "'../../etc/passwd'", "the name of a time zone, such as Asia/Tokyo or UTC"),
        ("OFFICEOPS_STACK", "kubernetes", "'kubernetes'", "local or compose"),
        ("OFFICEOPS_DEMO", "perhaps", "'perhaps'", "true or false"),
        ("OFFICEOPS_HOME", "~nobody-of-that-name/x", "'~nobody-of-that-name/x'", "a path; this host knows no home folder of that name"),
        ("LEDGER_URL", "mysql://office:" + MANY + "@h/x", f"(hidden, {len(MANY) + 19} characters)", "postgresql+psycopg://USER:PASSWORD@HOST/DATABASE or sqlite:////PATH"),
        ("LEDGER_URL", "sqlite:///relative.db", "(hidden, 21 characters)", "postgresql+psycopg://USER:PASSWORD@HOST/DATABASE or sqlite:////PATH"),
        ("POSTGRES_USER", "pg_admin", "'pg_admin'", "a name of at most 63 bytes that does not begin with pg_, none of public, none"),
        ("POSTGRES_USER", "事" * 22, "'" + "事" * 22 + "'", "a name of at most 63 bytes that does not begin with pg_, none of public, none"),
        ("POSTGRES_DB", "template1", "'template1'", "a name of at most 63 bytes, none of postgres, template0, template1"),
        ("OLLAMA_MODEL", "two words", "'two words'", "the name of a model, without spaces"),
        ("SITE_ADDRESS", "http://a b", "'http://a b'", "addresses separated by commas, such as office.example.com, www.example.com"),
        ("SITE_ADDRESS", "a { respond }", "'a { respond }'", "addresses separated by commas, such as office.example.com, www.example.com"),
        ("SITE_ADDRESS", "a,,b", "'a,,b'", "addresses separated by commas, such as office.example.com, www.example.com"),
        ("SITE_TLS", "off", "'off'", "internal, or nothing"),
        ("POSTGRES_IMAGE", "postgres", "'postgres'", IMAGE_RULE),
        ("POSTGRES_IMAGE", "postgres:latest", "'postgres:latest'", IMAGE_RULE),
        ("CADDY_IMAGE", "registry.example:5000/caddy", "'registry.example:5000/caddy'", IMAGE_RULE),
        ("REDIS_IMAGE", "redis:7 --privileged", "'redis:7 --privileged'", IMAGE_RULE),
        ("PYTHON_IMAGE", "Python:3", "'Python:3'", IMAGE_RULE),
        ("OLLAMA_MEMORY", "a lot", "'a lot'", "a number with k, m or g behind it, such as 16g"),
        ("PREFECT_API_URL", "prefect:4200", "'prefect:4200'", "http://HOST:PORT/api; the user and password are in PREFECT_AUTH_STRING"),
        ("PREFECT_API_URL", f"http://u:{MANY}@h/api", "'http://(hidden)@h/api'", "http://HOST:PORT/api; the user and password are in PREFECT_AUTH_STRING"),
        ("HTTP_PORT", "eighty", "'eighty'", "a port, 1 to 65535"),
        ("HTTP_PORT", "0", "'0'", "a port, 1 to 65535"),
        ("HTTP_PORT", "65536", "'65536'", "a port, 1 to 65535"),
        ("HTTP_PORT", "80.5", "'80.5'", "a port, 1 to 65535"),
        ("AWS_REGION", "Tokyo East", "'Tokyo East'", "lower-case letters, digits and -"),
        ("BACKUP_TARGETS", "ftp://host/x", "'ftp://host/x'", TARGET_RULE),
        ("BACKUP_TARGETS", "/backups", "'/backups'", TARGET_RULE),
        ("BACKUP_TARGETS", "file:", "'file:'", TARGET_RULE),
        ("BACKUP_TARGETS", "file:/", "'file:/'", TARGET_RULE),
        ("BACKUP_TARGETS", "file://backups/nightly", "'file://backups/nightly'", TARGET_RULE),
        ("BACKUP_TARGETS", "file:~nobody-of-that-name/x", "'file:~nobody-of-that-name/x'", TARGET_RULE),
        ("BACKUP_TARGETS", "s3:///prefix", "'s3:///prefix'", TARGET_RULE),
        ("BACKUP_TARGETS", "s3://b/p#x", "'s3://b/p#x'", TARGET_RULE),
        ("BACKUP_TARGETS", "s3://[b", "'s3://[b'", TARGET_RULE),
        ("BACKUP_TARGETS", "s3://b/p?endpoint=host:9000", "'s3://b/p?endpoint=host:9000'", TARGET_RULE),
        ("BACKUP_TARGETS", "s3://b/p?endpoint=http://a&endpoint=http://b", "'s3://b/p?endpoint=http://a&endpoint=http://b'", TARGET_RULE),
        ("BACKUP_TARGETS", f"s3://AKIA:x/{MANY}@b/p", "'s3://(hidden)@b/p'", TARGET_RULE),
        ("BACKUP_TARGETS", f"s3://b/p?endpoint=http://u:{MANY}@h", "'s3://(hidden)@h'", TARGET_RULE),
        ("BACKUP_TARGETS", f"s3://b/p?endpoint=http%3A%2F%2Fu%3A{MANY}%40h", "'s3://(hidden)%40h'", TARGET_RULE),
        ("BACKUP_TARGETS", f"s3://b/p?endpoint=http://h&secret={MANY}", "'s3://b/p?endpoint=http://h&secret=(hidden)'", TARGET_RULE),
        ("BACKUP_AGE_RECIPIENTS", RECIPIENT[:-1] + "q", f"'{RECIPIENT[:-1]}q'", "an age public key: age1..., as `age-keygen -y` prints it"),
        ("BACKUP_AGE_RECIPIENTS", f"AGE-SECRET-KEY-{MANY}", "'(hidden)'", "an age public key: age1..., as `age-keygen -y` prints it"),
        ("BACKUP_AGE_IDENTITY_FILE", f"AGE-SECRET-KEY-{MANY}", "'(hidden)'", "the path of the file that has the key"),
        ("NOTIFY_URLS", f"hooks.example/{MANY}", f"(hidden, {len(MANY) + 14} characters)", "a URL that Apprise knows, such as https://... or mailto://..."),
        ("POSTGRES_PASSWORD", "", "nothing", "a value: `officeops up` generates it"),
        ("POSTGRES_PASSWORD", "short7Qz", "(hidden, 8 characters): too short", SECRET_RULE.format(16)),
        ("POSTGRES_PASSWORD", "change-me-please-7Qz", "(hidden, 20 characters): a placeholder", SECRET_RULE.format(16)),
        ("POSTGRES_PASSWORD", "abababababababababab", "(hidden, 20 characters): a placeholder", SECRET_RULE.format(16)),
        ("JWT_SECRET_KEY", "0123456789abcdef0123456789abcde", "(hidden, 31 characters): too short", SECRET_RULE.format(32)),
        ("PREFECT_AUTH_STRING", "9f8e7d6c5b4a39281706", "(hidden, 20 characters), no user and password", "user:password"),
        ("PREFECT_AUTH_STRING", ":9f8e7d6c5b4a39281706", "(hidden, 21 characters), no user and password", "user:password"),
        ("PREFECT_AUTH_STRING", "admin:9f8e7d6c5b4a3928é", "(hidden, 23 characters), not in ASCII only", "user:password of ASCII characters"),
        ("PREFECT_AUTH_STRING", "administrator:7Qz-Wkh", "(hidden, 21 characters): too short", SECRET_RULE.format(16)),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_with_what_is_allowed(folder: Path, key: str, value: str, found: str, allowed: str) -> None:
    assert refused(folder, **{key: value}) == [(1, key, found, allowed)]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"HTTP_PORT": "9000", "REDIS_PORT": "9000"}, [(2, "REDIS_PORT", "9000, which HTTP_PORT has", "a port of its own")]),
        ({"HTTP_PORT": "14200"}, [(1, "HTTP_PORT", "14200, which PREFECT_PORT has", "a port of its own")]),
        (
            {"BACKUP_TARGETS": "file:a s3://b/p file:./a"},
            [(1, "BACKUP_TARGETS", "file:{folder}/a and file:{folder}/a, which are one", "each target once")],
        ),
        ({"BACKUP_TARGETS": "s3://b/p s3://b/p/"}, [(1, "BACKUP_TARGETS", "s3://b/p/ and s3://b/p, which are one", "each target once")]),
        (
            {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "x"},
            [(1, "AWS_ACCESS_KEY_ID", "nothing", "a value, as AWS_SECRET_ACCESS_KEY has one; or both empty")],
        ),
        (
            {"AWS_ACCESS_KEY_ID": "x"},
            [(0, "AWS_SECRET_ACCESS_KEY", "nothing", "a value, as AWS_ACCESS_KEY_ID has one; or both empty")],
        ),
    ],
)
def test_values_that_do_not_go_together_are_named(folder: Path, keys: dict[str, str], expected: list[tuple[int, str, str, str]]) -> None:
    assert refused(folder, **keys) == [(line, key, found.format(folder=folder), allowed) for line, key, found, allowed in expected]


def where_and_what(problem: Problem) -> tuple[str, str]:
    """As a person reads it: the file's last name and the line, the key."""
    where, key, _ = str(problem).split(": ", 2)
    return where.rsplit("/", 1)[-1], key


def test_every_error_is_named_at_once_in_the_order_of_lines(folder: Path) -> None:
    write(
        folder,
        "HTTP_PORT=0\nPOSTGRES_PORTS=1\nno key here\nTZ='open\nREDIS_PORT=9000\nOLLAMA_PORT=9000\nTZ=UTC\n"
        "JWT_SECRET_KEY=short\nBACKUP_TARGETS=nowhere s3://ok elsewhere\nAWS_ACCESS_KEY_ID=x\n",
        0o640,
    )
    _, problems = read_settings(folder, {"FRONTEND_PORT": "x"})
    assert [where_and_what(problem) for problem in problems] == [
        (".env", "(file)"),
        (".env", "POSTGRES_PASSWORD"),
        ("(environment)", "FRONTEND_PORT"),
        (".env", "PREFECT_AUTH_STRING"),
        (".env", "PREFECT_POSTGRES_PASSWORD"),
        (".env", "AWS_SECRET_ACCESS_KEY"),
        (".env:1", "HTTP_PORT"),
        (".env:2", "POSTGRES_PORTS"),
        (".env:3", "(no key)"),
        (".env:4", "TZ"),
        (".env:6", "OLLAMA_PORT"),
        (".env:8", "JWT_SECRET_KEY"),
        (".env:9", "BACKUP_TARGETS"),
        (".env:9", "BACKUP_TARGETS"),
    ]


@pytest.mark.parametrize(
    ("key", "allowed"),
    [("POSTGRES_PASWORD", "perhaps POSTGRES_PASSWORD"), ("http_port", "perhaps HTTP_PORT"), ("WEATHER", "a key of .env.example")],
)
def test_an_unknown_key_comes_with_a_suggestion(folder: Path, key: str, allowed: str) -> None:
    assert refused(folder, **{key: MANY}) == [(1, key, "an unknown key", allowed)]


def test_unknown_keys_of_the_process_environment_do_not_matter(folder: Path) -> None:
    read(folder, {"PATH": "/bin", "POSTGRES_PASWORD": "x", "http_port": "x"})


def test_the_process_environment_goes_before_the_file(folder: Path) -> None:
    assert read(folder, {"HTTP_PORT": "9090"}, HTTP_PORT="broken").http_port == 9090


def test_an_empty_variable_of_the_process_environment_says_nothing(folder: Path) -> None:
    assert read(folder, {"HTTP_PORT": " "}, HTTP_PORT="9090").http_port == 9090


def test_a_line_end_in_a_variable_of_the_process_environment_is_refused(folder: Path) -> None:
    assert refused(folder, {"POSTGRES_PASSWORD": f"{MANY}\n{MANY}"}) == [
        (0, "POSTGRES_PASSWORD", "a character that nobody can see (U+000A)", "printable characters")
    ]


def test_empty_values_stand_for_the_defaults(folder: Path) -> None:
    empty = read(folder, **{name.upper(): "" for name in Settings.model_fields if name.upper() not in GOOD})
    assert empty == read(folder)


def test_paths_start_at_the_folder_of_the_file(folder: Path) -> None:
    settings = read(
        folder, OFFICEOPS_HOME="state", OFFICEOPS_APP="../app", BACKUP_TARGETS="file:a file:///b s3://c/d", BACKUP_AGE_IDENTITY_FILE="~/k"
    )
    assert settings.officeops_home == folder / "state"
    assert settings.officeops_app == folder / "../app"
    assert settings.backup_targets == (f"file:{folder}/a", "file:/b", "s3://c/d")
    assert settings.backup_age_identity_file == Path("~/k").expanduser()


@pytest.mark.parametrize(
    "reference",
    ["postgres:18", "ollama/ollama:0.12.6-rocm", "registry.example:5000/team/postgres:18-bookworm", "localhost/redis:7",
     f"redis:7@sha256:{'0a' * 32}", f"redis@sha256:{'0a' * 32}"],
)  # fmt: skip
def test_an_image_that_is_the_same_tomorrow_passes(folder: Path, reference: str) -> None:
    assert read(folder, POSTGRES_IMAGE=reference).postgres_image == reference


@pytest.mark.parametrize(
    "addresses", ["office.example.com", "http://, https://localhost", "*.example.com, [::1]:8443", "https://事務所.example"]
)
def test_addresses_that_caddy_takes_pass(folder: Path, addresses: str) -> None:
    assert read(folder, SITE_ADDRESS=addresses, SITE_TLS="internal").site_address == addresses


def test_the_slash_at_the_end_of_an_api_is_left_out(folder: Path) -> None:
    assert read(folder, PREFECT_API_URL="http://prefect-server:4200/api/").prefect_api_url == "http://prefect-server:4200/api"


def test_weak_secrets_are_tolerated_in_a_demonstration(folder: Path) -> None:
    weak = {
        "POSTGRES_PASSWORD": "secret",
        "JWT_SECRET_KEY": "changeme",
        "PREFECT_AUTH_STRING": "admin:admin",
        "PREFECT_POSTGRES_PASSWORD": "x",
    }
    assert [key for _, key, _, _ in refused(folder, **weak)] == list(weak)
    assert read(folder, OFFICEOPS_DEMO="true", **weak).officeops_demo


def test_a_recipient_with_a_right_checksum_passes(folder: Path) -> None:
    assert read(folder, BACKUP_AGE_RECIPIENTS=f"{RECIPIENT} {RECIPIENT}").backup_age_recipients == (RECIPIENT, RECIPIENT)


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o620, 0o666])
def test_a_file_that_is_open_to_others_is_refused_with_the_command_that_helps(folder: Path, mode: int) -> None:
    write(folder, with_keys(), mode)
    settings, (problem,) = read_settings(folder, {})
    assert settings is None
    assert (problem.found, problem.allowed) == (f"mode {mode:04o}, open to others", f"mode 0600: chmod 600 {folder}/.env")


def test_a_missing_file_says_how_to_make_it(folder: Path) -> None:
    settings, (problem,) = read_settings(folder, {})
    assert settings is None
    assert (problem.line, problem.found, problem.allowed) == (0, "no such file", "the one that `officeops up` makes from .env.example")


def test_a_folder_in_its_place_is_a_problem(folder: Path) -> None:
    (folder / ".env").mkdir()
    assert read_settings(folder, {})[1][0].found == "a file that cannot be read (Is a directory)"


def test_a_binary_file_is_a_problem_in_the_line_where_it_begins(folder: Path) -> None:
    (folder / ".env").write_bytes(b"TZ=UTC\nHTTP_PORT=\xff\xfe\n")
    _, (problem,) = read_settings(folder, {})
    assert (problem.line, problem.found, problem.allowed) == (2, "bytes that are no UTF-8", "a text file in UTF-8")


def test_no_secret_is_in_any_error(folder: Path) -> None:
    for name in filter(is_secret, Settings.model_fields):
        for value in (f"{MANY}", f"{MANY} {MANY}", f"'{MANY}", f'"{MANY}" {MANY}', f"{MANY}\x07", f"://{MANY}", f"secret{MANY}"):
            text = "".join(f"{key}={'x' if key != name.upper() else value}\n" for key in [*GOOD, "AWS_ACCESS_KEY_ID", name.upper()])
            write(folder, text + f"{name.upper()}={value}\n")
            settings, problems = read_settings(folder, {})
            assert settings is None
            assert MANY not in "\n".join(map(str, problems)) + repr(problems)


def test_no_secret_is_in_the_representation_of_settings(folder: Path) -> None:
    secrets = {name.upper(): MANY for name in Settings.model_fields if is_secret(name)}
    secrets |= {"PREFECT_AUTH_STRING": f"admin:{MANY}", "LEDGER_URL": f"postgresql+psycopg://u:{MANY}@h/d"}
    secrets |= {key: f"json://{MANY}" for key in secrets if key.startswith("NOTIFY_URLS")}
    secrets["JWT_SECRET_KEY"] = MANY
    settings = read(folder, **secrets)
    assert MANY not in repr(settings) + str(settings) + repr(settings.model_dump()) + settings.model_dump_json()


def test_ports_are_all_of_the_keys_that_end_so() -> None:
    assert {name for name in Settings.model_fields if "port" in name.split("_")} == set(PORTS)


def test_reading_changes_nothing(folder: Path) -> None:
    write(folder, with_keys())
    before = os.stat(folder / ".env")
    read_settings(folder, {})
    after = os.stat(folder / ".env")
    assert (before.st_mtime_ns, before.st_ino, before.st_mode) == (after.st_mtime_ns, after.st_ino, after.st_mode)
