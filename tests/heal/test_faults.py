"""What can go wrong, done to a real stack: found by the probe that is there for it, mended as the table says, or a person is called."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import httpx
import psycopg
import pytest

from officeops.postgres.connect import connected
from officeops.probes.rounds import ask_about
from tests.heal.conftest import Clinic, with_remedies
from tests.support.ports import eventually
from tests.support.stack import supervisor

pytestmark = pytest.mark.xdist_group("watched")


@contextmanager
def stopped_by_a_signal(clinic: Clinic, program: str) -> Iterator[int]:
    pid = supervisor(clinic.site).status_of(program).pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        yield pid
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def test_a_backend_that_hangs_is_restarted(clinic: Clinic) -> None:
    with stopped_by_a_signal(clinic, "backend-blue"):
        assert "backend.healthy" in clinic.wrong("backend")
        incident = clinic.heal("backend.healthy")
    assert (incident.outcome, incident.remedy) == ("healed", "application")
    assert clinic.taken(incident) == [("restart", "well")]
    assert {"## state", "## log", "## recent releases"} <= set(incident.diagnosis.splitlines())
    assert clinic.wrong("backend") == set()
    assert clinic.channel.messages == []


def test_a_service_that_was_killed_for_good_is_started(clinic: Clinic) -> None:
    clinic.site.stack.stop("redis")
    assert clinic.wrong("redis") == {"redis.healthy", "redis.answers"}
    incident = clinic.heal("redis.answers")
    assert (incident.outcome, clinic.taken(incident)) == ("healed", [("restart", "well")])


def test_dependencies_come_first(clinic: Clinic) -> None:
    clinic.site.stack.stop("redis")
    eventually(lambda: "backend.healthy" in clinic.wrong("backend"), what="the backend's trouble")
    incident = clinic.heal("backend.healthy")
    assert (incident.target, incident.outcome) == ("redis", "healed")
    eventually(lambda: clinic.wrong("backend") == set(), what="the backend's recovery")


def test_a_port_that_somebody_else_has_is_a_case_for_a_person(clinic: Clinic) -> None:
    clinic.site.stack.stop("redis")
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", clinic.site.config.settings.redis_port))
        taken.listen()
        incident = clinic.heal("redis.healthy")
    assert (incident.outcome, clinic.taken(incident)[-1]) == ("paged", ("restart", "still wrong"))
    assert "REDIS_PORT" in incident.steps[1].detail
    ((_path, body),) = clinic.channel.messages
    assert "redis.healthy needs a person" in body
    assert "REDIS_PORT" in body


def test_an_asset_that_is_gone_makes_a_white_screen_and_is_built_again(clinic: Clinic) -> None:
    (clinic.site.stack.folder(clinic.running.release) / "frontend" / "app.js").unlink()
    assert clinic.wrong("frontend") == {"frontend.page"}
    incident = clinic.heal("frontend.page")
    assert (incident.outcome, incident.remedy, clinic.taken(incident)) == (
        "healed", "white-screen", [("rebuild", "well")],
    )  # fmt: skip
    assert "/app.js answered 404" in incident.diagnosis
    assert clinic.running.get("/app.js").status_code == 200


def test_a_model_that_is_gone_is_pulled(clinic: Clinic) -> None:
    settings = clinic.site.config.settings
    httpx.request("DELETE", f"http://127.0.0.1:{settings.ollama_port}/api/delete", json={"model": settings.ollama_model})
    assert clinic.wrong("ollama") == {"ollama.model", "ollama.ai_models"}
    incident = clinic.heal("ollama.model")
    assert (incident.outcome, clinic.taken(incident)) == ("healed", [("pull the model", "well")])
    assert clinic.wrong("ollama") == set()


def test_connections_that_idle_in_transactions_are_ended_when_there_are_no_more(clinic: Clinic) -> None:
    with connected(clinic.site.stack.database(), application="test") as connection:
        connection.execute("CREATE ROLE somebody LOGIN PASSWORD 'somebody'")
    address = clinic.site.stack.database()
    held: list[psycopg.Connection[object]] = []
    try:
        with suppress(psycopg.OperationalError):
            while len(held) < 120:
                one = psycopg.connect(host=address.host, port=address.port, user="somebody", password="somebody", dbname=address.database)
                one.execute("SELECT 1")
                held.append(one)
        assert "postgres.connections" in clinic.wrong("postgres")
        incident = clinic.heal("postgres.connections")
        assert (incident.outcome, incident.remedy) == ("healed", "database")
        assert clinic.taken(incident)[-1] == ("end idle transactions", "well")
        assert "idle in transaction" in incident.diagnosis
    finally:
        for one in held:
            one.close()
        with connected(clinic.site.stack.database(), application="test") as connection:
            connection.execute("DROP ROLE somebody")


def test_a_wrong_password_is_a_case_for_a_person(clinic: Clinic) -> None:
    address = clinic.site.stack.database()
    with connected(address, application="test") as connection:
        connection.execute(f"ALTER ROLE \"{address.user}\" PASSWORD 'another'".encode())
    try:
        assert "postgres.answers" in clinic.wrong("postgres")
        incident = with_remedies(clinic, verify_seconds=1).heal("postgres.answers")
        assert incident.outcome == "paged"
        assert "refused the password" in clinic.channel.messages[0][1]
        assert "another" not in clinic.channel.messages[0][1]
    finally:
        with psycopg.connect(
            host=address.host, port=address.port, user=address.user, password="another", dbname=address.database
        ) as mended:
            mended.execute(
                psycopg.sql.SQL("ALTER ROLE {} PASSWORD {}").format(
                    psycopg.sql.Identifier(address.user), address.password.get_secret_value()
                )
            )


def test_nothing_is_done_when_all_is_well(clinic: Clinic) -> None:
    incident = clinic.heal("backend.health")
    assert (incident.outcome, incident.actions) == ("well", ())


def test_nothing_is_done_while_somebody_changes_the_stack(clinic: Clinic) -> None:
    clinic.site.stack.stop("redis")
    with clinic.site.locked("deploy of a test"):
        incident = clinic.heal("redis.healthy")
    assert (incident.outcome, incident.actions) == ("refused", ())
    assert clinic.wrong("redis")


def test_a_service_that_does_not_hold_gets_its_attempts_and_one_call(clinic: Clinic) -> None:
    outcomes = []
    for _ in range(6):
        clinic.site.stack.stop("redis")
        outcomes.append(clinic.heal("redis.healthy").outcome)
    assert outcomes == ["healed", "healed", "healed", "paged", "refused", "refused"]
    assert len(clinic.channel.messages) == 1


def test_a_dry_run_says_what_would_be_done_and_does_nothing(clinic: Clinic) -> None:
    from officeops.remedies.healing import Healing

    clinic.site.stack.stop("ollama")
    plan = Healing(clinic.site, "a test").plan("ollama.healthy")
    assert plan is not None
    assert [step.name for step in plan.steps] == ["restart", "pull the model"]
    assert clinic.wrong("ollama") >= {"ollama.healthy", "ollama.answers"}
    assert clinic.site.ledger.incidents() == []


def test_what_asks_first_is_not_done_without_a_person(clinic: Clinic) -> None:
    clinic.site.stack.stop("redis")
    incident = with_remedies(clinic, mode="ask").heal("redis.healthy")
    assert (incident.outcome, clinic.taken(incident)) == ("paged", [])
    assert any(one.reading.name == "redis.healthy" and not one.ok for one in ask_about(clinic.site, "redis"))
