"""Talking with the model: streamed as it is said, kept whatever happens."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import httpx
import pytest

from tests.support.backend import Office, events
from tests.support.model import COMPLAINS, DIES, STOPS, Act
from tests.support.ports import eventually

pytestmark = pytest.mark.xdist_group("backend")


@pytest.fixture
def held() -> Iterator[threading.Event]:
    """Holds the model until it is set."""
    event = threading.Event()
    yield event
    event.set()


def ask(office: Office, message: str = "Hello?", conversation: int | None = None) -> list[tuple[str, dict[str, object]]]:
    """A whole chat, through the front door."""
    body = {"message": message, "conversation_id": conversation}
    with office.front.stream("POST", "/api/v1/ai/chat", json=body, headers=office.headers()) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        return list(events(answer.iter_lines()))


def test_health_is_healthy_when_ollama_answers(office: Office) -> None:
    assert office.front.get("/api/v1/ai/health").json() == {"status": "healthy", "ollama_reachable": True}


def test_models_are_those_of_ollama(office: Office) -> None:
    assert office.front.get("/api/v1/ai/models").json() == {
        "default": "gemma3:12b",
        "models": [{"name": "gemma3:12b", "details": {"family": "test"}}],
    }


@pytest.mark.parametrize("tags", [b"<html>not Ollama</html>", b"[]", b"{}"], ids=["html", "list", "empty"])
def test_health_is_degraded_when_something_else_answers_in_ollamas_place(office: Office, tags: bytes) -> None:
    office.model.tags = tags
    assert office.front.get("/api/v1/ai/health").json() == {"status": "degraded", "ollama_reachable": False}


def test_without_ollama_health_is_degraded_models_are_unavailable_and_a_chat_says_so(office: Office) -> None:
    office.model.stop()
    try:
        health = office.front.get("/api/v1/ai/health")
        assert (health.status_code, health.json()) == (200, {"status": "degraded", "ollama_reachable": False})
        assert office.front.get("/api/v1/ai/models").status_code == 503
        conversation = office.new_conversation()
        assert [name for name, _ in ask(office, conversation=conversation)] == ["start", "error"]
        assert office.messages(conversation) == [("user", "Hello?")]
    finally:
        office.model.start()


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_the_answer_comes_through_caddy_as_it_is_said(office: Office, held: threading.Event, encoding: str) -> None:
    office.model.script = ("first " * 200, held, "last")
    headers = {**office.headers(), "Accept-Encoding": encoding}
    with office.front.stream("POST", "/api/v1/ai/chat", json={"message": "Hello?"}, headers=headers) as answer:
        said = events(answer.iter_lines())
        assert next(said)[0] == "start"
        assert next(said) == ("token", {"text": "first " * 200})
        held.set()
        assert list(said) == [("token", {"text": "last"}), ("end", {})]


def test_question_and_answer_are_kept_and_told_the_model_the_next_time(office: Office) -> None:
    office.model.script = ("はい、", "空いて", "います。")
    first = ask(office, "会議室は空いていますか？")
    conversation = first[0][1]["conversation_id"]
    assert isinstance(conversation, int)
    office.model.script = ("Yes.",)
    ask(office, "Sure?", conversation)
    assert office.messages(conversation) == [
        ("user", "会議室は空いていますか？"),
        ("assistant", "はい、空いています。"),
        ("user", "Sure?"),
        ("assistant", "Yes."),
    ]
    assert [message["content"] for message in office.model.asked[-1]["messages"]] == [
        "会議室は空いていますか？",
        "はい、空いています。",
        "Sure?",
    ]


@pytest.mark.parametrize("door", ["direct", "front"])
def test_what_was_said_is_kept_when_the_reader_goes_away(office: Office, held: threading.Event, door: str) -> None:
    office.model.script = ("heard by nobody ", held, "never said")
    conversation = office.new_conversation()
    body = {"message": "Hello?", "conversation_id": conversation}
    with (
        httpx.Client(base_url=getattr(office, door).base_url) as reader,
        reader.stream("POST", "/api/v1/ai/chat", json=body, headers=office.headers()) as answer,
    ):
        said = events(answer.iter_lines())
        assert [next(said)[0], next(said)[0]] == ["start", "token"]
    eventually(lambda: office.messages(conversation)[1:] == [("assistant", "heard by nobody ")], what="keeping")


@pytest.mark.parametrize("how", [DIES, COMPLAINS, STOPS], ids=["dies", "complains", "stops"])
def test_what_was_said_is_kept_when_the_model_breaks_off_and_the_reader_is_told(office: Office, how: Act) -> None:
    office.model.script = ("half an ", how)
    conversation = office.new_conversation()
    assert [name for name, _ in ask(office, conversation=conversation)] == ["start", "token", "error"]
    assert office.messages(conversation) == [("user", "Hello?"), ("assistant", "half an ")]


def test_a_model_that_ollama_does_not_have_is_told_as_an_error(office: Office) -> None:
    office.model.status = 404
    conversation = office.new_conversation()
    assert [name for name, _ in ask(office, conversation=conversation)] == ["start", "error"]
    assert office.messages(conversation) == [("user", "Hello?")]


def test_characters_that_the_database_cannot_keep_do_not_lose_the_answer(office: Office) -> None:
    office.model.script = ("odd\0ly", " said")
    conversation = office.new_conversation()
    assert ask(office, conversation=conversation)[-1] == ("end", {})
    assert office.messages(conversation)[1:] == [("assistant", "oddly said")]


def test_a_long_answer_holds_no_connection_of_the_pool(office: Office, held: threading.Event) -> None:
    office.model.script = ("first", held)
    with office.front.stream("POST", "/api/v1/ai/chat", json={"message": "Hello?"}, headers=office.headers()) as answer:
        said = events(answer.iter_lines())
        assert [next(said)[0], next(said)[0]] == ["start", "token"]
        assert office.metric("db_pool_in_use") == 0
        held.set()
        assert list(said) == [("end", {})]
