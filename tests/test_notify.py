"""Telling people: who is told, what stands in the message, and what becomes of one that nobody takes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from officeops.notify import Delivery, Message, apprise_url, channels, deliver, redacted, send
from officeops.runbook import Runbook
from officeops.settings import Settings
from tests.support.channel import Channel, listening
from tests.support.mail import running_smtp
from tests.support.ports import free_ports

RUNBOOK = Runbook.model_validate(
    {
        "version": 1, "stack": "office", "title": "Smart Office",
        "services": {"postgres": {"kind": "postgres"}, "caddy": {"kind": "caddy"}},
        "contacts": [{"role": "database_administrator", "name": "山田 花子", "contact": "ext. 204"}],
    }
)  # fmt: skip
PASSWORD = "p/ss wörd@7Qz-Wk"
FAILED = Message(
    "nightly-backup failed", "critical", "database_administrator", datetime(2026, 11, 25, 17, 0, 13, tzinfo=UTC),
    error=f"connection to postgresql://office:{PASSWORD}@127.0.0.1 was refused", todo="Look at the target, then `officeops backup`.",
    link="http://127.0.0.1:14200/prefect/runs/flow-run/1",
)  # fmt: skip


def settings(**urls: str) -> Settings:
    """Settings of the host `tokyo-1` with these URLs of .env."""
    secrets = {"jwt_secret_key": "j" * 8, "prefect_auth_string": "admin:opensesame", "prefect_postgres_password": "k" * 8}
    return Settings.model_validate({"postgres_password": PASSWORD, "officeops_host": "tokyo-1", **secrets, **urls})


@pytest.fixture
def channel() -> Iterator[Channel]:
    with listening() as found:
        yield found


def told(channel: Channel, path: str) -> dict[str, Any]:
    """The one message that `path` got."""
    (body,) = channel.sent_to(path)
    return dict(json.loads(body))


def test_a_message_says_what_where_since_when_why_what_to_do_who_and_where_to_see_more(channel: Channel) -> None:
    given = settings(notify_urls=f"json://{channel.url}/all")
    assert send(given, RUNBOOK, FAILED) == [Delivery("NOTIFY_URLS 1", 1)]
    message = told(channel, "/all")
    assert message["title"] == "✗ office on tokyo-1: nightly-backup failed"
    assert message["message"].splitlines() == [
        "Where: Smart Office (office on tokyo-1)",
        "Since: 2026-11-26 02:00:13 JST",
        "Error: connection to postgresql://(hidden)@127.0.0.1 was refused",
        "What to do: Look at the target, then `officeops backup`.",
        "Answers for it: database administrator: 山田 花子 ext. 204",
        "See: http://127.0.0.1:14200/prefect/runs/flow-run/1",
    ]
    assert message["type"] == "failure"


@pytest.mark.parametrize(
    ("severity", "role", "expected"),
    [
        ("info", "system_administrator", {"NOTIFY_URLS 1", "NOTIFY_URLS_SYSTEM_ADMINISTRATOR 1"}),
        ("warning", "development_lead", {"NOTIFY_URLS 1", "NOTIFY_URLS_WARNING 1"}),
        ("critical", "database_administrator",
         {"NOTIFY_URLS 1", "NOTIFY_URLS_WARNING 1", "NOTIFY_URLS_CRITICAL 1", "NOTIFY_URLS_DATABASE_ADMINISTRATOR 1"}),
    ],
)  # fmt: skip
def test_people_are_told_what_concerns_them_by_how_bad_it_is_and_who_answers_for_it(severity: Any, role: Any, expected: set[str]) -> None:
    given = settings(
        notify_urls="json://all", notify_urls_warning="json://warnings", notify_urls_critical="json://pager",
        notify_urls_system_administrator="json://system", notify_urls_database_administrator="json://database json://pager",
    )  # fmt: skip
    assert {one.name for one in channels(given, severity, role)} == expected


def test_every_channel_gets_it_although_one_is_dead_and_what_was_not_delivered_is_said(channel: Channel) -> None:
    dead = f"json://127.0.0.1:{free_ports(1)[0]}/hook"
    given = settings(notify_urls=f"{dead} json://{channel.url}/alive")
    pauses: list[float] = []
    failed, delivered = send(given, RUNBOOK, FAILED, attempts=3, sleep=pauses.append)
    assert (delivered.ok, len(channel.sent_to("/alive"))) == (True, 1)
    assert (failed.channel, failed.attempts, failed.ok) == ("NOTIFY_URLS 1", 3, False)
    assert failed.error.startswith("NOTIFY_URLS 1 did not take the message: ")
    assert pauses == sorted(set(pauses)), "each pause longer than the one before"


def test_a_channel_that_is_busy_for_a_moment_is_asked_again_and_told_once(channel: Channel) -> None:
    channel.refusing = 2
    given = settings(notify_urls=f"http://{channel.url}/hook")
    assert send(given, RUNBOOK, FAILED, sleep=lambda _seconds: None) == [Delivery("NOTIFY_URLS 1", 3)]
    assert len(channel.sent_to("/hook")) == 1


def test_a_url_that_is_none_is_named_at_once_and_not_shown() -> None:
    given = settings(notify_urls="nosuchservice://secret-token-of-mine")
    (found,) = send(given, RUNBOOK, FAILED, sleep=lambda _seconds: pytest.fail("asked again"))
    assert (found.attempts, found.error) == (1, "NOTIFY_URLS 1 is no URL that Apprise knows.")


def test_a_plain_webhook_gets_json_at_its_own_address_with_its_query(channel: Channel) -> None:
    given = settings(notify_urls=f"http://{channel.url}/hook?token=a%2Fb&room=%E4%BA%8B%E5%8B%99")
    assert send(given, RUNBOOK, FAILED)[0].ok
    assert told(channel, "/hook?token=a%2Fb&room=%E4%BA%8B%E5%8B%99")["title"].endswith("nightly-backup failed")


def test_addresses_of_services_that_apprise_knows_are_left_to_it() -> None:
    slack = "https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"
    assert apprise_url(slack) == slack
    assert apprise_url("https://example.com/x") == "jsons://example.com/x"


def test_mail_arrives_with_subject_and_text() -> None:
    with running_smtp() as box:
        url = f"mailto://127.0.0.1:{box.port}?mode=insecure&from=ops@example.com&to=yamada@example.com"
        assert send(settings(notify_urls_database_administrator=url), RUNBOOK, FAILED)[0].ok
    ((recipients, mail),) = box.mails
    assert recipients == ["yamada@example.com"]
    assert mail["Subject"] == "✗ office on tokyo-1: nightly-backup failed"
    body = mail.get_body(("plain",))
    assert body is not None
    assert "山田 花子" in body.get_content()
    assert PASSWORD not in body.get_content()


@pytest.mark.parametrize("form", [PASSWORD, "p%2Fss%20w%C3%B6rd%407Qz-Wk", "p%2Fss+w%C3%B6rd%407Qz-Wk", "p/ss%20w%C3%B6rd%407Qz-Wk"])
def test_a_secret_is_taken_out_however_it_is_written(form: str) -> None:
    assert redacted(f"before {form} after", settings()) == "before (hidden) after"


def test_the_address_of_a_webhook_is_a_secret_and_the_password_behind_a_colon_too() -> None:
    given = settings(notify_urls="https://chat.example.com/hooks/0123456789abcdefg slack://a:b@c")
    text = "POST https://chat.example.com/hooks/0123456789abcdefg with opensesame at /hooks/0123456789abcdefg"
    assert redacted(text, given) == "POST (hidden) with (hidden) at /(hidden)"


def test_a_very_long_error_is_cut_and_says_so(channel: Channel) -> None:
    given = settings(notify_urls=f"json://{channel.url}/all")
    send(given, RUNBOOK, Message("x failed", error="line\n" * 10_000))
    assert len(told(channel, "/all")["message"]) < 2_000
    assert "more in the run's log" in told(channel, "/all")["message"]


def test_nobody_to_tell_is_no_failure() -> None:
    assert send(settings(), RUNBOOK, FAILED) == []


def test_one_attempt_that_fails_can_be_made_again(channel: Channel) -> None:
    from officeops.notify import NotDeliveredError, as_text

    given = settings(notify_urls=f"json://{channel.url}/all")
    (one,), channel.refusing = channels(given, "critical", "development_lead"), 1
    with pytest.raises(NotDeliveredError) as failure:
        deliver(given, one, as_text(given, RUNBOOK, FAILED))
    assert failure.value.transient
