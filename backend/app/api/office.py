"""Logging in, conversations, rooms and their readings, the audit log."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, FiniteFloat
from sqlalchemy import select

from app.api import Id, PathId, Text
from app.core.audit import note
from app.core.security import CurrentUser, Database, password_fits, token_for
from app.models import AuditEntry, Conversation, Message, Reading, Room, User

router = APIRouter(prefix="/api/v1")
Limit = Annotated[int, Query(ge=1, le=500)]
Before = Annotated[Id | None, Query(description="Only rows with a smaller id: the way to the next page")]


class Shown(BaseModel):
    """A row as the API shows it."""

    model_config = ConfigDict(from_attributes=True)
    id: int


class Login(BaseModel):
    """A user's name and password."""

    name: Text = Field(max_length=200)
    password: Text = Field(max_length=1000)


class Title(BaseModel):
    """The title of a new conversation."""

    title: Text = Field(min_length=1, max_length=200)


class NewReading(BaseModel):
    """What a sensor sends."""

    kind: str = Field(pattern="^(temperature|humidity|co2|occupancy)$")
    value: FiniteFloat
    measured_at: AwareDatetime = Field(ge=datetime(2000, 1, 1, tzinfo=UTC), lt=datetime(2100, 1, 1, tzinfo=UTC))


class ShownConversation(Shown):
    title: str
    created_at: datetime


class ShownMessage(Shown):
    role: str
    content: str
    model: str | None
    created_at: datetime


class ShownRoom(Shown):
    name: str
    floor: int


class ShownReading(Shown):
    kind: str
    value: float
    measured_at: datetime


class ShownAudit(Shown):
    user_id: int | None
    action: str
    detail: dict[str, object]
    at: datetime


@router.post("/auth/login")
async def login(given: Login, database: Database) -> dict[str, str]:
    """A token for the name and the password."""
    user = await database.scalar(select(User).where(User.name == given.name))
    good = await password_fits(given.password, user.password_hash if user else None)
    note(database, user.id if user else None, "login" if good else "login refused", name=given.name)
    await database.commit()
    if user is None or not good:
        raise HTTPException(401, "Name or password is wrong.")
    return {"access_token": token_for(user), "token_type": "bearer", "display_name": user.display_name}


@router.get("/conversations")
async def conversations(user: CurrentUser, database: Database, limit: Limit = 50, before: Before = None) -> list[ShownConversation]:
    """The user's conversations, newest first."""
    query = select(Conversation).where(Conversation.user_id == user.id)
    if before is not None:
        query = query.where(Conversation.id < before)
    rows = await database.scalars(query.order_by(Conversation.id.desc()).limit(limit))
    return [ShownConversation.model_validate(row) for row in rows]


@router.post("/conversations", status_code=201)
async def begin_conversation(given: Title, user: CurrentUser, database: Database) -> ShownConversation:
    """A new, empty conversation."""
    row = Conversation(user_id=user.id, title=given.title)
    database.add(row)
    await database.commit()
    await database.refresh(row)
    return ShownConversation.model_validate(row)


@router.get("/conversations/{conversation_id}/messages")
async def messages(
    conversation_id: PathId, user: CurrentUser, database: Database, limit: Limit = 100, before: Before = None
) -> list[ShownMessage]:
    """The last messages of a conversation, oldest first."""
    conversation = await database.get(Conversation, conversation_id)
    if conversation is None or conversation.user_id != user.id:
        raise HTTPException(404, "There is no such conversation.")
    query = select(Message).where(Message.conversation_id == conversation_id)
    if before is not None:
        query = query.where(Message.id < before)
    rows = (await database.scalars(query.order_by(Message.id.desc()).limit(limit))).all()
    return [ShownMessage.model_validate(row) for row in reversed(rows)]


@router.get("/rooms")
async def rooms(_user: CurrentUser, database: Database) -> list[ShownRoom]:
    """All rooms."""
    return [ShownRoom.model_validate(row) for row in await database.scalars(select(Room).order_by(Room.name))]


@router.get("/rooms/{room_id}/readings")
async def readings(room_id: PathId, _user: CurrentUser, database: Database, limit: Limit = 100) -> list[ShownReading]:
    """The newest readings of a room, newest first."""
    rows = await database.scalars(
        select(Reading).where(Reading.room_id == room_id).order_by(Reading.measured_at.desc(), Reading.id.desc()).limit(limit)
    )
    return [ShownReading.model_validate(row) for row in rows]


@router.post("/rooms/{room_id}/readings", status_code=201)
async def add_reading(room_id: PathId, given: NewReading, _user: CurrentUser, database: Database) -> ShownReading:
    """Stores what a sensor measured."""
    if await database.get(Room, room_id) is None:
        raise HTTPException(404, "There is no such room.")
    row = Reading(room_id=room_id, **given.model_dump())
    database.add(row)
    await database.commit()
    return ShownReading.model_validate(row)


@router.get("/audit")
async def audit(_user: CurrentUser, database: Database, limit: Limit = 100) -> list[ShownAudit]:
    """The newest entries of the audit log."""
    rows = await database.scalars(select(AuditEntry).order_by(AuditEntry.id.desc()).limit(limit))
    return [ShownAudit.model_validate(row) for row in rows]
