"""Releases that are no good, on every stack: each ends with the release before it in charge, and what happened is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from officeops.errors import OfficeOpsError
from officeops.releases.proof import ProofError
from officeops.releases.watch import BreachError
from officeops.site import Site
from tests.releases.conftest import Office
from tests.support.releases import Knocking, build, require_sound, roll_out


@contextmanager
def used(site: Site) -> Iterator[None]:
    """People use the application's API, whatever it answers: without requests nobody notices that they fail."""
    stopped = threading.Event()

    def use() -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{site.config.settings.http_port}", timeout=30) as client:
            while not stopped.is_set():
                try:
                    client.get("/api/v1/ai/health")
                except httpx.HTTPError:
                    time.sleep(0.05)
                stopped.wait(0.01)

    threads = [threading.Thread(target=use, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopped.set()
        for thread in threads:
            thread.join(40)


def why_undone(office: Office) -> str:
    """What the ledger says of the release that came last."""
    record = office.site.ledger.releases()[0]
    assert record.outcome == "undone"
    return str(record.error)


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("never-ready", ProofError, r"backend of the new release is not ready after \d+ s: /ready"),
        ("broken-page", ProofError, r"frontend of the new release failed the smoke request /"),
    ],
)
def test_one_that_is_not_fit_to_serve_never_gets_a_request(office: Office, name: str, error: type[OfficeOpsError], words: str) -> None:
    site = office.with_releases(ready_seconds=20 if name == "never-ready" else 90)
    with Knocking(site) as knocking, pytest.raises(error, match=words) as caught:
        roll_out(site, build(site, office.variant(name)))
    assert knocking.failures == []
    assert "last words" in caught.value.state
    assert f"The release {office.first.sha[:10]} serves as before, the new one is removed." in caught.value.state
    assert why_undone(office)
    require_sound(site, office.first.sha)


def test_one_that_ends_at_its_start_is_given_up_with_its_last_words(office: Office) -> None:
    site = office.with_releases(ready_seconds=90)
    with Knocking(site) as knocking, pytest.raises(ProofError, match="is not ready") as caught:
        roll_out(site, build(site, office.variant("new-key")))  # nobody looked before: the key is missing
    assert knocking.failures == []
    assert "WEEKLY_REPORT_TO" in caught.value.state
    require_sound(site, office.first.sha)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("crashes-in-use", r"backend of the new release (ended by itself|is not ready any more|fails)"),
        ("errors", r"backend of the new release fails \d+\.\d% of \d+ requests; the runbook allows 5\.0%"),
        ("leaks", r"backend of the new release (ended by itself|is not ready any more|fails)"),
    ],
)
def test_one_that_goes_wrong_once_it_serves_loses_its_requests_again(office: Office, name: str, words: str) -> None:
    site = office.with_releases(bake_seconds=60)
    began = time.monotonic()
    with used(site), pytest.raises(BreachError, match=words):
        roll_out(site, build(site, office.variant(name)))
    assert time.monotonic() - began < 60, "it was seen before the bake was over"
    assert "of the new release" in why_undone(office)
    require_sound(site, office.first.sha)


def test_one_that_does_not_stop_when_asked_is_ended_when_it_is_replaced(office: Office) -> None:
    roll_out(office.site, build(office.site, office.variant("hangs-on-sigterm")))
    with Knocking(office.site) as knocking:
        roll_out(office.site, office.first, kind="rollback")
    assert knocking.failures == []
    require_sound(office.site, office.first.sha)


@pytest.mark.parametrize(
    ("name", "seconds", "words"), [("failing-migration", 60, "nowhere"), ("hanging-migration", 8, "took more than 8 s and was ended")]
)
def test_a_migration_that_fails_or_hangs_changes_nothing(office: Office, name: str, seconds: float, words: str) -> None:
    site = office.with_releases(migration_seconds=seconds)
    with Knocking(site) as knocking, pytest.raises(OfficeOpsError, match=words):
        roll_out(site, build(site, office.variant(name)))
    assert knocking.failures == []
    require_sound(site, office.first.sha)
    assert site.stack.ask(["SELECT version_num FROM public.alembic_version"], timeout=5) == ["0004"]
    assert site.stack.ask(
        ["SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()"], timeout=5
    ) == ["0"]
