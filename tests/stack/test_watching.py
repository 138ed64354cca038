"""A round and a treatment on each stack."""

from __future__ import annotations

from officeops.probes.asking import Asker
from officeops.probes.logs import Look
from officeops.probes.rounds import ask, ask_about
from officeops.remedies.healing import Healing
from tests.support.stack import RunningStack


def test_a_round_finds_a_healthy_stack_healthy(running: RunningStack) -> None:
    site = running.site
    if any(not one.ok for one in ask_about(site, "ollama")):  # a fresh one has no model yet
        incident = Healing(site, "a test").heal("ollama.model")
        assert (incident.outcome, incident.actions) == ("healed", ("pull the model",))
    found = ask(site, Asker(), Look(site.home / "watch", keep=False))
    wrong = {one.reading.name: one.reading.detail for one in found.wrong if one.reading.measure not in ("backup_age", "memory", "disk")}
    assert wrong == {}
    names = {one.reading.name for one in found.judged}
    assert names >= {"backend.health", "frontend.page", "postgres.connections", "ollama.model", "backend.error_rate"}
    assert "backend.memory_bytes" in names


def test_what_was_stopped_is_found_and_started(running: RunningStack) -> None:
    running.stack.stop("redis")
    assert {one.reading.name for one in ask_about(running.site, "redis") if not one.ok} == {"redis.healthy", "redis.answers"}
    incident = Healing(running.site, "a test").heal("redis.answers")
    assert (incident.outcome, incident.actions) == ("healed", ("restart",))
    assert running.service("redis").health == "healthy"
