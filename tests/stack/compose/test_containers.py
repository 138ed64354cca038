"""What the engine says, in the words of the port; without an engine."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from officeops.stack.compose import containers

SHA = "0123456789abcdef0123456789abcdef01234567"


def inspected(**state: Any) -> dict[str, Any]:
    """A container that runs well; `state` and `policy` change it."""
    policy = state.pop("policy", "unless-stopped")
    return {
        "State": {"Status": "running", "ExitCode": 0, "StartedAt": "2026-01-02T03:04:05.123456789Z", **state},
        "HostConfig": {"RestartPolicy": {"Name": policy}},
        "Config": {"Image": f"office-backend:{SHA}", "Labels": {}},
        "RestartCount": 2,
        "NetworkSettings": {"Networks": {"office_default": {"IPAddress": "172.18.0.4"}}},
    }


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"Status": "running"}, "running"),
        ({"Status": "restarting", "ExitCode": 3}, "restarting"),
        ({"Status": "created"}, "stopped"),
        ({"Status": "paused"}, "stopping"),
        ({"Status": "exited", "ExitCode": 1}, "stopped"),  # it would have come back: somebody stopped it
        ({"Status": "exited", "ExitCode": 1, "policy": "no"}, "failed"),
        ({"Status": "exited", "ExitCode": 143, "policy": "no"}, "stopped"),
        ({"Status": "exited", "ExitCode": 0, "policy": "on-failure"}, "stopped"),
        ({"Status": "dead"}, "failed"),
    ],
)
def test_the_state_is_one_of_the_ports(state: dict[str, Any], expected: str) -> None:
    assert containers.state(inspected(**state)) == expected


def test_a_container_that_is_not_there_is_stopped() -> None:
    found = containers.status("backend", None, app=True, problem=None)
    assert (found.state, found.health, found.release, found.started_at) == ("stopped", "unknown", None, None)


def test_of_a_container_that_starts_again_and_again_the_exit_status_is_told() -> None:
    found = containers.status("backend", inspected(Status="restarting", ExitCode=3), app=True, problem=None)
    assert (found.health, found.restarts) == ("unhealthy", 2)
    assert "status 3" in found.detail


FAILING = {"Health": {"Status": "unhealthy", "Log": [{"Output": "first"}, {"Output": "connection refused\n"}]}}


@pytest.mark.parametrize(
    ("state", "problem", "expected"),
    [
        ({}, "", ("healthy", "")),
        ({}, "no answer", ("unhealthy", "no answer")),
        ({}, None, ("healthy", "")),
        ({"Health": {"Status": "healthy"}}, None, ("healthy", "")),
        ({"Health": {"Status": "starting"}}, None, ("starting", "its healthcheck has not answered yet")),
        ({"Health": {"Status": "starting"}}, "", ("healthy", "")),
        (FAILING, None, ("unhealthy", "connection refused")),
        (FAILING, "", ("healthy", "")),
    ],
    ids=[
        "asked",
        "asked in vain",
        "nobody asks",
        "own check",
        "own check begins",
        "asked before it",
        "own check fails",
        "own check is older",
    ],
)
def test_asking_now_goes_before_the_containers_own_check(state: dict[str, Any], problem: str | None, expected: tuple[str, str]) -> None:
    found = containers.status("backend", inspected(**state), app=True, problem=problem)
    assert (found.health, found.detail) == expected


def test_the_release_is_the_images_tag_or_its_label_and_only_an_app_has_one() -> None:
    assert containers.status("backend", inspected(), app=True, problem="").release == SHA
    assert containers.status("postgres", inspected(), app=False, problem="").release is None
    labelled = inspected()
    labelled["Config"] = {"Image": "registry:5000/office-backend:stable", "Labels": {"org.opencontainers.image.revision": SHA}}
    assert containers.release(labelled) == SHA


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-02T03:04:05.123456789Z", datetime(2026, 1, 2, 3, 4, 5, 123456, UTC)),
        ("2026-01-02T03:04:05.1Z", datetime(2026, 1, 2, 3, 4, 5, 100000, UTC)),
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, 0, UTC)),
        ("2026-01-02T12:04:05.5+09:00", datetime(2026, 1, 2, 3, 4, 5, 500000, UTC)),
    ],
)
def test_the_engines_times_are_read_whatever_digits_they_have(text: str, expected: datetime) -> None:
    assert containers.time(text) == expected


def test_a_container_that_was_never_started_has_no_start() -> None:
    assert containers.started_at(inspected(StartedAt="0001-01-01T00:00:00Z")) is None


def test_the_address_is_that_of_a_network_that_has_one() -> None:
    assert containers.address(inspected()) == ("office_default", "172.18.0.4")
    stopped = inspected()
    stopped["NetworkSettings"]["Networks"]["office_default"]["IPAddress"] = ""
    assert containers.address(stopped) is None


def sample(busy_s: float, passed: timedelta, **memory: Any) -> dict[str, Any]:
    """What the engine counts: a second of processor time before, `busy_s` more after `passed`."""
    before = datetime(2026, 1, 1, tzinfo=UTC)
    return {
        "preread": before.isoformat().replace("+00:00", "Z"),
        "read": (before + passed).isoformat().replace("+00:00", "Z"),
        "precpu_stats": {"cpu_usage": {"total_usage": int(1e9)}},
        "cpu_stats": {"cpu_usage": {"total_usage": int((1 + busy_s) * 1e9)}},
        "memory_stats": memory,
    }


@pytest.mark.parametrize(("statistics", "cache"), [({"inactive_file": 30}, 30), ({"total_inactive_file": 40}, 40), ({}, 0)])
def test_usage_is_in_cores_and_without_what_the_kernel_may_drop(statistics: dict[str, int], cache: int) -> None:
    found = containers.usage("backend", sample(0.5, timedelta(seconds=0.25), usage=100, stats=statistics))
    assert found is not None
    assert (found.cpu, found.memory) == (pytest.approx(2.0), 100 - cache)


def test_a_container_that_stopped_meanwhile_takes_nothing() -> None:
    assert containers.usage("backend", sample(0.0, timedelta(seconds=1))) is None
