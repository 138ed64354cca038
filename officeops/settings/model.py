"""The keys of `.env`, each with what it means. `.env.example` explains them to people; this says what is allowed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError("the name of a time zone, such as Asia/Tokyo or UTC") from error
    return name


def _target(url: str) -> str:
    if not re.match(r"file:.|s3://[^/?]", url):
        raise ValueError("file:PATH or s3://BUCKET/PREFIX?endpoint=URL")
    return url


def _recipient(key: str) -> str:
    if not re.fullmatch(r"age1[02-9ac-hj-np-z]{58}", key):
        raise ValueError("an age public key: age1 and 58 more characters")
    return key


def _words(value: object) -> object:
    return tuple(value.split()) if isinstance(value, str) else value


Port = Annotated[int, Field(ge=1, le=65535)]
Words = BeforeValidator(_words)  # in .env: separated by spaces


class Settings(BaseModel):
    """One host's settings: `.env` beside `runbook.yaml`, overridden by the process's environment.

    Paths are absolute here: relative ones in `.env` start at the folder of `.env`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    tz: Annotated[str, AfterValidator(_zone)] = Field("Asia/Tokyo", description="Time zone that people read times in and schedules run in")
    officeops_stack: Literal["local"] = Field("local", description="Where the application runs")
    officeops_home: Path = Field(Path(".officeops"), description="Everything this program keeps on this host")
    officeops_app: Path = Field(Path("."), description="Git repository of the application under management")
    officeops_demo: bool = Field(False, description="A demonstration: placeholder secrets are tolerated")
    ledger_url: SecretStr | None = Field(None, description="SQLAlchemy URL of the ledger; default: SQLite in OFFICEOPS_HOME")

    postgres_user: str = Field("smartoffice", min_length=1)
    postgres_password: SecretStr
    postgres_db: str = Field("smartoffice", min_length=1)
    jwt_secret_key: SecretStr
    demo_password: SecretStr = Field(SecretStr("demo-office"), description="Password of the user demo that the demonstration makes")
    ollama_model: str = "gemma3:12b"

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

    backup_targets: Annotated[tuple[Annotated[str, AfterValidator(_target)], ...], Words] = Field(
        ("file:.officeops/backups",),
        min_length=1,
        description="Where backups go, separated by spaces: file:PATH, s3://BUCKET/PREFIX?endpoint=URL",
    )
    backup_age_recipients: Annotated[tuple[Annotated[str, AfterValidator(_recipient)], ...], Words] = Field(
        (), description="age public keys (age1...), separated by spaces; none: not encrypted"
    )
    backup_age_identity_file: Path | None = Field(None, description="age secret key, needed to restore encrypted backups")
    aws_access_key_id: SecretStr | None = None
    aws_secret_access_key: SecretStr | None = None
    aws_region: str = "us-east-1"

    notify_urls: Annotated[tuple[SecretStr, ...], Words] = Field((), description="Apprise URLs told about failures, separated by spaces")

    @property
    def zone(self) -> ZoneInfo:
        """The zone of `TZ`."""
        return ZoneInfo(self.tz)


PORTS = tuple(name for name in Settings.model_fields if name.endswith("_port"))
# Generated on first use; the least number of characters that is accepted.
SECRETS = {"postgres_password": 16, "jwt_secret_key": 32, "prefect_auth_string": 16, "prefect_postgres_password": 16}
