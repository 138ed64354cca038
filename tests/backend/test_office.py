"""Logins, conversations, readings, the audit log, and what is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest

from tests.support.backend import JWT_KEY, PEOPLE_PASSWORD, Office

pytestmark = pytest.mark.xdist_group("backend")
LATER = datetime.now(UTC) + timedelta(hours=1)


def newest_audit(office: Office) -> dict[str, Any]:
    found: dict[str, Any] = office.direct.get("/api/v1/audit", params={"limit": 1}, headers=office.headers()).json()[0]
    return found


def test_a_login_with_the_right_password_lets_in_and_is_noted(office: Office) -> None:
    answer = office.front.post("/api/v1/auth/login", json={"name": "tanaka", "password": PEOPLE_PASSWORD})
    assert (answer.status_code, answer.json()["display_name"]) == (200, "田中 美咲")
    headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    assert office.front.get("/api/v1/rooms", headers=headers).status_code == 200
    assert (newest_audit(office)["action"], newest_audit(office)["detail"]) == ("login", {"name": "tanaka"})


@pytest.mark.parametrize(("name", "password"), [("demo", "wrong"), ("nobody", PEOPLE_PASSWORD), ("demo", ""), ("", "")])
def test_a_login_with_the_wrong_name_or_password_is_refused_and_noted(office: Office, name: str, password: str) -> None:
    answer = office.front.post("/api/v1/auth/login", json={"name": name, "password": password})
    assert (answer.status_code, answer.json()) == (401, {"detail": "Name or password is wrong."})
    assert (newest_audit(office)["action"], newest_audit(office)["detail"]) == ("login refused", {"name": name})


def token(key: str = JWT_KEY, algorithm: str = "HS256", **claims: object) -> str:
    return jwt.encode({"sub": "1", "exp": LATER, **claims}, key, algorithm=algorithm)


def test_a_token_signed_with_the_configured_key_is_good(office: Office) -> None:
    """Which also says that a key with quotes, a dollar and a backslash reaches the backend untouched."""
    assert office.front.get("/api/v1/rooms", headers={"Authorization": f"Bearer {token()}"}).status_code == 200


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "Bearer",
        "Bearer not-a-token",
        "Basic ZGVtbzpkZW1v",
        f"Bearer {token(exp=LATER - timedelta(hours=2))}",
        f"Bearer {token('another key, which is not the one of this backend')}",
        f"Bearer {token('', algorithm='none')}",
        f"Bearer {jwt.encode({'sub': '1'}, JWT_KEY, algorithm='HS256')}",
        f"Bearer {jwt.encode({'exp': LATER}, JWT_KEY, algorithm='HS256')}",
        f"Bearer {token(sub='root')}",
        f"Bearer {token(sub='999999')}",
        f"Bearer {token()[:-3]}AAA",
    ],
    ids=["none", "empty", "garbage", "basic", "expired", "other key", "unsigned", "eternal", "nobody", "no number", "gone", "altered"],
)
def test_a_token_that_is_not_good_is_refused(office: Office, authorization: str | None) -> None:
    headers = {"Authorization": authorization} if authorization else {}
    assert office.front.get("/api/v1/conversations", headers=headers).status_code == 401


@pytest.mark.parametrize(
    "path", ["/api/v1/conversations", "/api/v1/conversations/1/messages", "/api/v1/rooms", "/api/v1/rooms/1/readings", "/api/v1/audit"]
)
def test_nothing_is_shown_without_a_login(office: Office, path: str) -> None:
    assert office.front.get(path).status_code == 401


def test_another_users_conversation_is_as_if_it_were_not_there(office: Office) -> None:
    theirs = office.new_conversation("suzuki")
    read = office.front.get(f"/api/v1/conversations/{theirs}/messages", headers=office.headers("sato"))
    write = office.front.post("/api/v1/ai/chat", json={"message": "Hello?", "conversation_id": theirs}, headers=office.headers("sato"))
    assert (read.status_code, write.status_code) == (404, 404)
    assert theirs not in [one["id"] for one in office.front.get("/api/v1/conversations", headers=office.headers("sato")).json()]
    assert office.messages(theirs, "suzuki") == []


def test_conversations_come_newest_first_in_pages(office: Office) -> None:
    made = [office.new_conversation("weber") for _ in range(3)]
    first = office.front.get("/api/v1/conversations", params={"limit": 2}, headers=office.headers("weber")).json()
    rest = office.front.get("/api/v1/conversations", params={"limit": 1, "before": first[-1]["id"]}, headers=office.headers("weber")).json()
    assert [one["id"] for one in first + rest] == made[::-1]


def test_a_reading_is_kept_and_comes_newest_first(office: Office) -> None:
    room = office.front.get("/api/v1/rooms", headers=office.headers()).json()[0]["id"]
    at = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=5)
    sent = {"kind": "co2", "value": 612.5, "measured_at": at.isoformat()}
    assert office.front.post(f"/api/v1/rooms/{room}/readings", json=sent, headers=office.headers()).status_code == 201
    newest = office.front.get(f"/api/v1/rooms/{room}/readings", params={"limit": 1}, headers=office.headers()).json()[0]
    assert (newest["kind"], newest["value"], datetime.fromisoformat(newest["measured_at"])) == ("co2", 612.5, at)


LONG, BIG = "x" * 8001, 2**63
READING = {"kind": "co2", "value": 1.0, "measured_at": "2026-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/ai/chat", {}),
        ("POST", "/ai/chat", {"message": ""}),
        ("POST", "/ai/chat", {"message": LONG}),
        ("POST", "/ai/chat", {"message": "with a\0 zero"}),
        ("POST", "/ai/chat", {"message": "half a \ud83d character"}),
        ("POST", "/ai/chat", {"message": "?", "conversation_id": BIG}),
        ("POST", "/ai/chat", "not an object"),
        ("POST", "/conversations", {"title": "x" * 201}),
        ("POST", "/conversations", {"title": "\0"}),
        ("POST", "/auth/login", {"name": "x" * 201, "password": "p"}),
        ("POST", "/auth/login", {"name": "demo\0", "password": "p"}),
        ("POST", "/auth/login", {"name": "demo", "password": "x" * 1001}),
        ("POST", "/rooms/1/readings", {**READING, "kind": "mood"}),
        ("POST", "/rooms/1/readings", {**READING, "value": float("nan")}),
        ("POST", "/rooms/1/readings", {**READING, "value": float("inf")}),
        ("POST", "/rooms/1/readings", {**READING, "measured_at": "2026-01-01T00:00:00"}),
        ("POST", "/rooms/1/readings", {**READING, "measured_at": "9999-12-31T23:59:59-12:00"}),
        ("POST", "/rooms/1/readings", {**READING, "measured_at": "0001-01-01T00:00:00+12:00"}),
        ("POST", f"/rooms/{BIG}/readings", READING),
        ("GET", f"/conversations/{BIG}/messages", None),
        ("GET", "/conversations?limit=0", None),
        ("GET", "/conversations?limit=501", None),
        ("GET", f"/conversations?before={BIG}", None),
        ("GET", "/audit?limit=many", None),
    ],
)  # fmt: skip
def test_input_beyond_its_limits_is_refused_as_such(office: Office, method: str, path: str, body: object) -> None:
    content = None if body is None else json.dumps(body).encode()
    headers = {**office.headers(), "Content-Type": "application/json"}
    answer = office.front.request(method, f"/api/v1{path}", content=content, headers=headers)
    assert answer.status_code == 422, answer.text


def test_what_was_sent_is_not_sent_back_with_the_refusal(office: Office) -> None:
    answer = office.front.post("/api/v1/auth/login", json={"name": "x" * 201, "password": "my own password"})
    assert answer.json()["detail"][0]["loc"] == ["body", "name"]
    assert "my own password" not in answer.text


@pytest.mark.parametrize(
    ("content", "status"), [(b"{", 422), (b"\xff\xfe{", 400), (b"[" * 100_000, 400), (b'"' + b"x" * 1_100_000 + b'"', 413)]
)
def test_a_body_that_is_none_is_refused(office: Office, content: bytes, status: int) -> None:
    headers = {**office.headers(), "Content-Type": "application/json"}
    assert office.front.post("/api/v1/ai/chat", content=content, headers=headers).status_code == status


def test_no_page_loads_scripts_from_elsewhere(office: Office) -> None:
    assert office.front.get("/api/docs").status_code == 404
