"""What is written down of the release that takes requests, and small things that both stacks build on."""

from __future__ import annotations

import json
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr

from officeops.errors import UsageError
from officeops.settings import Settings
from officeops.stack.caddy import complaints, in_flight
from officeops.stack.local.releases import pins
from officeops.stack.port import Deployed, Release, commit_of, short
from officeops.stack.releases import deployed, record, taken_over, with_arguments
from officeops.stack.values import release_values

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_what_was_recorded_is_found_again(tmp_path: Path) -> None:
    given = Deployed("a" * 40, AT, "green", {"ollama_model": "模型:1b"})
    record(tmp_path, given)
    assert deployed(tmp_path) == given


def test_nothing_is_deployed_before_the_first_release(tmp_path: Path) -> None:
    assert deployed(tmp_path) is None


def test_a_record_from_before_there_were_colours_is_one_of_blue(tmp_path: Path) -> None:
    (tmp_path / "release.json").write_text(json.dumps({"sha": "a" * 40, "since": AT.isoformat()}))
    assert deployed(tmp_path) == Deployed("a" * 40, AT, "blue", {})


def test_a_record_is_for_our_eyes_only_also_over_one_that_was_not(tmp_path: Path) -> None:
    (tmp_path / "release.json").write_text("{}")
    record(tmp_path, Deployed("a" * 40, AT))
    assert stat.S_IMODE((tmp_path / "release.json").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["release.json"]


@pytest.mark.parametrize(("sha", "at"), [("a", AT), ("b", datetime(2026, 2, 2, tzinfo=UTC))], ids=["the same", "another"])
def test_a_release_that_ran_before_keeps_its_time(sha: str, at: datetime) -> None:
    later = datetime(2026, 2, 2, tzinfo=UTC)
    assert taken_over(Deployed("a", AT), Release(sha, AT, {"tz": "UTC"}), "green", later) == Deployed(sha, at, "green", {"tz": "UTC"})


def test_a_migration_command_gets_other_arguments_in_the_place_of_upgrade_head() -> None:
    assert with_arguments(["alembic", "-x", "y", "upgrade", "head"], ["upgrade", "0003", "--sql"]) == (
        "alembic", "-x", "y", "upgrade", "0003", "--sql",
    )  # fmt: skip


def test_a_migration_command_of_another_form_is_a_mistake_of_the_runbook() -> None:
    with pytest.raises(UsageError, match="upgrade head"):
        with_arguments(["rake", "db:migrate"], ["current"])


def test_the_settings_of_a_release_come_before_todays_and_secrets_stay_secret() -> None:
    secrets = dict.fromkeys(("postgres_password", "jwt_secret_key", "prefect_auth_string", "prefect_postgres_password"), "of today")
    today = Settings.model_validate(secrets)
    values = release_values(today, {"ollama_model": "other:1b", "jwt_secret_key": "of yesterday", "gone_since": "x"})
    assert (values["ollama_model"], values["gone_since"], values["postgres_db"]) == ("other:1b", "x", "smartoffice")
    assert values["jwt_secret_key"] == SecretStr("of yesterday")


def test_requests_in_flight_are_those_of_the_addresses_asked_for() -> None:
    said = json.dumps([{"address": f"127.0.0.1:{port}", "num_requests": number, "fails": 0} for port, number in ((1, 2), (2, 3), (3, 5))])
    assert in_flight(said, {"127.0.0.1:1", "127.0.0.1:3", "127.0.0.1:9"}) == 7
    assert in_flight("null", {"127.0.0.1:1"}) == 0


def test_requests_that_go_by_the_file_of_an_address_count_once_for_its_name() -> None:
    addresses = ("web-blue:80", "{file./gate/web-blue.address}:80", "172.17.0.2:80", "{file./gate/web-green.address}:80", "web-blue:81")
    said = json.dumps([{"address": one, "num_requests": number, "fails": 0} for number, one in enumerate(addresses, 1)])
    assert in_flight(said, {"web-blue:80"}) == 3


def test_what_caddy_complains_about_is_told_without_what_it_only_reports() -> None:
    said = '{"level":"info","msg":"using config"}\n{"level":"error","msg":"adapting: x:2: unrecognized directive"}\nError: no such file\n'
    assert complaints(said) == ["adapting: x:2: unrecognized directive", "no such file"]
    assert len(complaints("")) == 1


def test_a_rebuild_is_told_by_its_commit_and_its_number() -> None:
    name = f"{'1a2b3c4d5e' * 4}-r2"
    assert (commit_of(name), short(name), short(name, 7)) == ("1a2b3c4d5e" * 4, "1a2b3c4d5e-r2", "1a2b3c4-r2")
    assert short("1a2b3c4d5e" * 4) == "1a2b3c4d5e"


def test_the_versions_of_a_lock_file_are_found_whatever_stands_beside_them() -> None:
    text = "# Jinja2==1\nJinja2[i18n]==3.1.4 \\\n    --hash=sha256:1\nruamel.yaml==1.0 ; python_version < '4'\n"
    assert pins(text) == {"jinja2": "3.1.4", "ruamel-yaml": "1.0"}
