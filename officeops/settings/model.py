"""The keys of `.env`, each with what it means. `.env.example` explains them to people; this says what is allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, SecretStr

Port = Annotated[int, Field(ge=1, le=65535)]


class Settings(BaseModel):
    """One host's settings: `.env` beside `runbook.yaml`, overridden by the process's environment.

    Paths are absolute here: relative ones in `.env` start at the folder of `.env`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    tz: str = Field("Asia/Tokyo", description="Time zone that people read times in and schedules run in")
    officeops_stack: Literal["local", "compose"] = Field("local", description="Where the application runs")
    officeops_home: Path = Field(Path(".officeops"), description="Everything this program keeps on this host")
    officeops_app: Path = Field(Path("."), description="Git repository of the application under management")
    officeops_demo: bool = Field(False, description="A demonstration: placeholder secrets are tolerated")
    ledger_url: SecretStr | None = Field(None, description="SQLAlchemy URL of the ledger; default: SQLite in OFFICEOPS_HOME")

    postgres_user: str = "smartoffice"
    postgres_password: SecretStr
    postgres_db: str = "smartoffice"
    jwt_secret_key: SecretStr

    http_port: Port = Field(8080, description="Caddy: the application's front door")
    caddy_admin_port: Port = 12019
    postgres_port: Port = 15432
    redis_port: Port = 16379
    ollama_port: Port = 21434
    backend_port: Port = 18000
    frontend_port: Port = 18080
    prefect_port: Port = 14200
    prefect_postgres_port: Port = 15433

    prefect_auth_string: SecretStr = Field(description="user:password of the Prefect server")
    prefect_postgres_password: SecretStr

    backup_targets: tuple[str, ...] = Field(
        ("file:.officeops/backups",),
        description="Where backups go, separated by spaces: file:PATH, s3://BUCKET/PREFIX?endpoint=URL",
    )
    backup_age_recipients: tuple[str, ...] = Field((), description="age public keys (age1...), separated by spaces; none: not encrypted")
    backup_age_identity_file: Path | None = Field(None, description="age secret key, needed to restore encrypted backups")
    aws_access_key_id: SecretStr | None = None
    aws_secret_access_key: SecretStr | None = None
    aws_region: str = "us-east-1"

    notify_urls: tuple[SecretStr, ...] = Field((), description="Apprise URLs told about failures, separated by spaces")

    @property
    def zone(self) -> ZoneInfo:
        """The zone of `TZ`."""
        return ZoneInfo(self.tz)
