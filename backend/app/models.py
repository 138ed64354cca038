"""The tables. What grows and ages: messages, readings, the audit log."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, DateTime, Float, ForeignKey, Identity, Index, Text, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """All tables."""

    type_annotation_map = {str: Text, datetime: DateTime(timezone=True), int: BigInteger, float: Float}  # noqa: RUF012 - SQLAlchemy's form


class User(Base):
    """Somebody who logs in."""

    __tablename__ = "users"
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    display_name: Mapped[str]
    password_hash: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Conversation(Base):
    """A chat of one user."""

    __tablename__ = "conversations"
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    title: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)


class Message(Base):
    """One turn of a conversation. role: user or assistant."""

    __tablename__ = "messages"
    __table_args__ = (Index("ix_messages_conversation_created", "conversation_id", "created_at"),)
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    conversation_id: Mapped[int] = mapped_column(ForeignKey("conversations.id", ondelete="CASCADE"))
    role: Mapped[str]
    content: Mapped[str]
    model: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)


class Room(Base):
    """A room of the office."""

    __tablename__ = "rooms"
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    floor: Mapped[int]


class Reading(Base):
    """What a room's sensor measured. kind: temperature (°C), humidity (%), co2 (ppm), occupancy (people)."""

    __tablename__ = "sensor_readings"
    __table_args__ = (Index("ix_sensor_readings_room_at", "room_id", "measured_at"),)
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    room_id: Mapped[int] = mapped_column(ForeignKey("rooms.id"))
    kind: Mapped[str]
    value: Mapped[float]
    measured_at: Mapped[datetime] = mapped_column(index=True)


class AuditEntry(Base):
    """Who did what."""

    __tablename__ = "audit_log"
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    action: Mapped[str]
    detail: Mapped[dict[str, object]] = mapped_column(JSONB)
    at: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)
