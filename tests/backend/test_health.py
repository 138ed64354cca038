"""What probes and people ask the backend about itself."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

import pytest

from officeops.postgres.connect import connected
from tests.support.backend import Office
from tests.support.ports import eventually
from tests.support.postgres import Running

pytestmark = pytest.mark.xdist_group("backend")


T = TypeVar("T")


def settled(read: Callable[[], T]) -> T:
    """A value that holds still: a request is counted a moment after its answer."""
    seen: list[T] = []

    def still() -> bool:
        seen.append(read())
        return len(seen) > 1 and seen[-1] == seen[-2]

    eventually(still, what="standing still")
    return seen[-1]


def ready(office: Office) -> tuple[int, dict[str, str]]:
    answer = office.direct.get("/ready")
    return answer.status_code, answer.json()


@pytest.mark.parametrize("client", ["direct", "front"])
def test_health_says_that_the_process_answers(office: Office, client: str) -> None:
    answer = getattr(office, client).get("/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_version_names_the_release_and_the_schemas_revision(office: Office) -> None:
    assert office.front.get("/version").json() == {"release": "0123abcd", "revision": "0004"}


def test_it_is_ready_when_database_and_redis_answer(office: Office) -> None:
    assert ready(office) == (200, {"database": "ok", "redis": "ok"})


def test_it_is_not_ready_without_redis_and_ready_again_with_it(office: Office) -> None:
    office.redis.stop()
    try:
        status, said = ready(office)
        assert (status, said["database"]) == (503, "ok")
        assert said["redis"] != "ok"
    finally:
        office.redis.start()
    eventually(lambda: ready(office)[0] == 200, what="readiness with Redis back")


def test_it_is_not_ready_without_the_database_and_ready_again_with_it(office: Office, postgres: Running) -> None:
    name = office.address.database
    with connected(postgres.address(), application="test") as connection:
        connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false'.encode())
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        try:
            status, said = ready(office)
            assert (status, said["redis"]) == (503, "ok")
            assert said["database"] != "ok"
            assert office.direct.get("/health").status_code == 200
            assert office.direct.get("/version").json() == {"release": "0123abcd", "revision": None}
        finally:
            connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true'.encode())
    eventually(lambda: ready(office)[0] == 200, what="readiness with the database back")


def test_metrics_stay_inside(office: Office) -> None:
    assert office.front.get("/metrics").status_code == 404


def test_metrics_count_and_time_each_request_by_its_route(office: Office) -> None:
    route = {"method": "GET", "route": "/api/v1/conversations/{conversation_id}/messages"}
    conversation = office.new_conversation()
    office.messages(conversation)

    def counted() -> tuple[float, float, float]:
        return (
            office.metric("http_requests_total", status="200", **route),
            office.metric("http_request_seconds_count", **route),
            office.metric("http_request_seconds_bucket", le="+Inf", **route),
        )

    before = settled(counted)
    office.messages(conversation)
    eventually(lambda: counted() == tuple(value + 1 for value in before), what="counting")


def test_metrics_count_errors(office: Office) -> None:
    office.redis.stop()
    try:
        ready(office)
        before = settled(lambda: office.metric("http_errors_total", route="/ready"))
        ready(office)
        eventually(lambda: office.metric("http_errors_total", route="/ready") == before + 1, what="counting")
    finally:
        office.redis.start()
    eventually(lambda: ready(office)[0] == 200, what="readiness with Redis back")


def test_made_up_methods_and_paths_make_no_metrics_of_their_own(office: Office) -> None:
    office.direct.request("MADEUP", "/nowhere/1")
    office.direct.get("/nowhere/2")
    text = office.direct.get("/metrics").text
    assert "MADEUP" not in text
    assert "nowhere" not in text


def test_metrics_show_requests_in_flight_and_the_connections_that_they_hold(office: Office) -> None:
    assert office.metric("db_pool_size") == 10
    eventually(lambda: (office.metric("http_requests_in_flight"), office.metric("db_pool_in_use")) == (1, 0), what="quiet")
    headers = office.headers()
    with connected(office.address, application="test", autocommit=False) as connection:
        connection.execute("LOCK TABLE public.rooms IN ACCESS EXCLUSIVE MODE")
        waiting = threading.Thread(target=lambda: office.front.get("/api/v1/rooms", headers=headers))
        waiting.start()
        eventually(lambda: (office.metric("http_requests_in_flight"), office.metric("db_pool_in_use")) == (2, 1), what="one in flight")
        connection.rollback()
        waiting.join()
    eventually(lambda: (office.metric("http_requests_in_flight"), office.metric("db_pool_in_use")) == (1, 0), what="quiet")
