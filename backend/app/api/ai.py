"""The model: whether it answers, what it knows, chatting with it."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import anyio
import httpx
from fastapi import APIRouter, HTTPException
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from app.api import Id, Text
from app.core.audit import note
from app.core.database import Session
from app.core.security import CurrentUser, Database
from app.core.settings import settings
from app.models import Conversation, Message, User

router = APIRouter(prefix="/api/v1/ai")
log = logging.getLogger("app.ai")
_HISTORY = 20
ollama = httpx.AsyncClient(base_url=settings.ollama_url, timeout=httpx.Timeout(5, read=300))


class Question(BaseModel):
    """What somebody asks. conversation_id: None begins a new one."""

    message: Text = Field(min_length=1, max_length=8000)
    conversation_id: Id | None = None


class Answer(StreamingResponse):
    """A stream that is also brought to its end when the reader has gone away: what its generator does last is not left to chance."""

    def __init__(self, events: AsyncGenerator[str, None]) -> None:
        super().__init__(events, media_type="text/event-stream", headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        self._events = events

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            with anyio.CancelScope(shield=True):
                await self._events.aclose()


@router.get("/health")
async def health() -> dict[str, object]:
    """`degraded` when Ollama does not answer; the rest of the application works all the same."""
    reachable = await _tags() is not None
    return {"status": "healthy" if reachable else "degraded", "ollama_reachable": reachable}


@router.get("/models")
async def models() -> dict[str, object]:
    """What Ollama has."""
    tags = await _tags()
    if tags is None:
        raise HTTPException(503, "Ollama does not answer.")
    return {"default": settings.ollama_model, "models": [{"name": tag["name"], "details": tag.get("details", {})} for tag in tags]}


@router.post("/chat")
async def chat(question: Question, user: CurrentUser, database: Database) -> Answer:
    """The answer as server-sent events: `start`, any number of `token`, and `end` or `error`. Question and answer are kept."""
    conversation = await _conversation(database, user, question)
    database.add(Message(conversation_id=conversation.id, role="user", content=question.message))
    note(database, user.id, "chat", conversation=conversation.id)
    await database.commit()
    recent = await database.scalars(
        select(Message)
        .where(Message.conversation_id == conversation.id)
        .order_by(Message.created_at.desc(), Message.id.desc())
        .limit(_HISTORY)
    )
    history = [{"role": message.role, "content": message.content} for message in reversed(recent.all())]
    await database.close()  # a long answer must not hold a connection of the pool
    return Answer(_events(conversation.id, history))


async def _tags() -> list[dict[str, object]] | None:
    try:
        answer = await ollama.get("/api/tags", timeout=2)
        answer.raise_for_status()
        return list(answer.json()["models"])
    except (httpx.HTTPError, ValueError, KeyError, TypeError):  # it does not answer, or not as Ollama does
        return None


async def _conversation(database: Database, user: User, question: Question) -> Conversation:
    if question.conversation_id is None:
        conversation = Conversation(user_id=user.id, title=question.message[:80])
        database.add(conversation)
        await database.flush()
        return conversation
    found = await database.get(Conversation, question.conversation_id)
    if found is None or found.user_id != user.id:
        raise HTTPException(404, "There is no such conversation.")
    return found


async def _events(conversation_id: int, history: list[dict[str, str]]) -> AsyncGenerator[str, None]:
    said: list[str] = []
    last = _event("end", {})
    yield _event("start", {"conversation_id": conversation_id, "model": settings.ollama_model})
    try:
        async with aclosing(_tokens(history)) as pieces:
            async for piece in pieces:
                said.append(piece)
                yield _event("token", {"text": piece})
    except httpx.HTTPError as error:
        log.error("Ollama broke off the answer in conversation %s: %r", conversation_id, error)
        last = _event("error", {"message": "The model broke off. What it said is kept."})
    finally:
        # Also when the reader went away in the middle: what was said is kept.
        with anyio.CancelScope(shield=True):
            kept = await _keep(conversation_id, "".join(said))
    yield last if kept else _event("error", {"message": "The answer could not be kept."})


async def _keep(conversation_id: int, said: str) -> bool:
    if not said:
        return True
    try:
        async with Session() as database:
            database.add(Message(conversation_id=conversation_id, role="assistant", content=said, model=settings.ollama_model))
            await database.commit()
    except (SQLAlchemyError, OSError) as error:
        log.error("The answer in conversation %s could not be kept: %r", conversation_id, error)
        return False
    return True


async def _tokens(history: list[dict[str, str]]) -> AsyncGenerator[str, None]:
    """Pieces of the answer. Raises httpx.HTTPError when it does not come to its end, whatever the reason."""
    body = {"model": settings.ollama_model, "messages": history, "stream": True}
    async with ollama.stream("POST", "/api/chat", json=body) as answer:
        if answer.status_code != 200:
            raise httpx.HTTPError(f"status {answer.status_code}: {(await answer.aread())[:200]!r}")
        async for line in answer.aiter_lines():
            text, done = _piece(line)
            if text:
                yield text
            if done:
                return
    raise httpx.HTTPError("the answer ended without its last piece")


def _piece(line: str) -> tuple[str, bool]:
    """What one line of Ollama's answer says, and whether it is the last one."""
    try:
        piece = json.loads(line)
        # PostgreSQL's text takes every character but NUL.
        return str(piece["message"]["content"]).replace("\0", ""), bool(piece.get("done"))
    except (ValueError, KeyError, TypeError) as error:
        raise httpx.HTTPError(f"not a piece of an answer: {line[:200]!r}") from error


def _event(name: str, data: dict[str, object]) -> str:
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"
