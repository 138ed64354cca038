"""Settings from the environment. The database's user, password, host and port may come as libpq's own PG* variables."""

from __future__ import annotations

import os
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Settings:
    """What differs from one installation to another."""

    database_url: str = field(repr=False)
    redis_url: str
    ollama_url: str
    ollama_model: str
    jwt_secret_key: str = field(repr=False)
    release_sha: str
    pool_size: int
    drain_seconds: int


def from_environment() -> Settings:
    """Raises KeyError naming a variable that is missing."""
    return Settings(
        database_url=os.environ.get("DATABASE_URL", "postgresql+psycopg://"),
        redis_url=os.environ["REDIS_URL"],
        ollama_url=os.environ["OLLAMA_URL"],
        ollama_model=os.environ.get("OLLAMA_MODEL", "gemma3:12b"),
        jwt_secret_key=os.environ["JWT_SECRET_KEY"],
        release_sha=os.environ.get("RELEASE_SHA", "unknown"),
        pool_size=int(os.environ.get("DB_POOL_SIZE", "10")),
        drain_seconds=int(os.environ.get("DRAIN_SECONDS", "30")),
    )


settings = from_environment()
