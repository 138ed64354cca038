"""Passwords and logins."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Annotated

import jwt
from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError
from fastapi import Depends, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.database import session
from app.core.settings import settings
from app.models import User

_HASHER = PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1)
_NOBODYS = _HASHER.hash("")
_LIFETIME = timedelta(hours=12)
_bearer = HTTPBearer(auto_error=False)


def hash_password(password: str) -> str:
    """For `users.password_hash`."""
    return _HASHER.hash(password)


async def password_fits(password: str, hashed: str | None) -> bool:
    """Whether `password` is the one that was hashed. hashed: None when there is no such user, which takes as long to say.

    In a thread, since a hash takes tens of milliseconds in which nobody else would be answered.
    """
    return await asyncio.to_thread(_verified, password, hashed or _NOBODYS) and hashed is not None


def _verified(password: str, hashed: str) -> bool:
    try:
        return _HASHER.verify(hashed, password)
    except (Argon2Error, InvalidHashError):
        return False


def token_for(user: User) -> str:
    """A login that is good for twelve hours."""
    return jwt.encode({"sub": str(user.id), "exp": datetime.now(UTC) + _LIFETIME}, settings.jwt_secret_key, algorithm="HS256")


async def current_user(
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)], database: Annotated[AsyncSession, Depends(session)]
) -> User:
    """Whoever the request's token is of. Answers 401 when there is none or it is not good."""
    try:
        claims = jwt.decode(
            credentials.credentials if credentials else "",
            settings.jwt_secret_key,
            algorithms=["HS256"],
            options={"require": ["exp", "sub"]},  # one that never expires is none of ours
        )
        user_id = int(claims["sub"])
    except (jwt.InvalidTokenError, ValueError) as error:
        raise HTTPException(401, "Log in first.", headers={"WWW-Authenticate": "Bearer"}) from error
    user = await database.get(User, user_id)
    if user is None:
        raise HTTPException(401, "This account is gone.")
    return user


CurrentUser = Annotated[User, Depends(current_user)]
Database = Annotated[AsyncSession, Depends(session)]
