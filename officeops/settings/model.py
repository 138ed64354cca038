"""The keys of `.env`, each with what it means. `.env.example` explains them to people; this says what is allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from officeops.settings import values

Port = Annotated[int, Field(ge=1, le=65535)]
Place = Annotated[Path, AfterValidator(values.path)]
Words = BeforeValidator(values.words)  # in .env: separated by white space
Target = Annotated[str, AfterValidator(values.target)]
Recipient = Annotated[str, AfterValidator(values.recipient)]
LedgerUrl = Annotated[SecretStr, AfterValidator(values.ledger)]
NotifyUrl = Annotated[SecretStr, AfterValidator(values.notification)]
Urls = Annotated[tuple[NotifyUrl, ...], Words]
Image = Annotated[str, AfterValidator(values.image)]


class Settings(BaseModel):
    """One host's settings: `.env` beside `runbook.yaml`, overridden by the process's environment.

    Paths are absolute here: relative ones in `.env` start at the folder of `.env`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    tz: Annotated[str, AfterValidator(values.zone)] = Field(
        "Asia/Tokyo", description="Time zone that people read times in and schedules run in"
    )
    officeops_stack: Literal["local", "compose"] = Field(
        "local", description="Where the application runs: local, with nothing but Python; compose, on Docker Compose"
    )
    officeops_home: Place = Field(Path(".officeops"), description="Everything this program keeps on this host")
    officeops_host: str = Field(
        "",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$|^$",
        description="This host's name in queues, messages and reports; empty: what it calls itself",
    )
    officeops_app: Place = Field(Path("."), description="Git repository of the application under management")
    git_credentials_file: Place | None = Field(
        None, description="File with credentials for fetching OFFICEOPS_APP by https, in the format of git's credential store"
    )
    officeops_demo: bool = Field(False, description="true: a demonstration, placeholder secrets are tolerated")
    ledger_url: LedgerUrl | None = Field(None, description="SQLAlchemy URL of the ledger; empty: SQLite in OFFICEOPS_HOME")

    postgres_user: Annotated[str, AfterValidator(values.role)] = Field("smartoffice", description="The database's superuser")
    postgres_password: SecretStr = Field(description="Password of POSTGRES_USER; at least 16 characters")
    postgres_db: Annotated[str, AfterValidator(values.database)] = Field("smartoffice", description="The application's database")
    jwt_secret_key: SecretStr = Field(description="Signs the application's logins; at least 32 characters")
    demo_password: SecretStr = Field(SecretStr("demo-office"), description='Password of the user "demo" that `make demo` makes')
    ollama_model: str = Field("gemma3:12b", pattern=r"^\S+$", description="The model that answers in the chat")

    site_address: Annotated[str, AfterValidator(values.site)] = Field(
        "",
        description="On compose: what Caddy answers to, separated by commas, a domain with a certificate; empty: any name by HTTP, localhost by HTTPS too",
    )
    site_tls: Annotated[str, AfterValidator(values.tls)] = Field(
        "", description="On compose: internal has Caddy sign certificates itself, for names that no authority can reach"
    )
    postgres_image: Image = Field("postgres:18-bookworm", description="On compose: the image of PostgreSQL, with a tag")
    redis_image: Image = Field("redis:7.4-bookworm", description="On compose: the image of Redis")
    ollama_image: Image = Field("ollama/ollama:0.12.6", description="On compose: the image of Ollama")
    caddy_image: Image = Field("caddy:2.11", description="On compose: the image of Caddy; the frontend's is built on it")
    python_image: Image = Field(
        "python:3.11-slim-bookworm", description="On compose: what the images of the backend and the Prefect worker are built on"
    )
    docker_cli_image: Image = Field("docker:28-cli", description="On compose: where the Prefect worker's Docker command comes from")
    ollama_memory: str = Field(
        "16g", pattern=r"^[1-9][0-9]*[kmg]$", description="On compose: the most memory that Ollama may take, the model included"
    )

    http_port: Port = Field(8080, description="Caddy: the application's front door")
    https_port: Port = Field(8443, description="The same with TLS; the Prefect UI is at /prefect there")
    caddy_admin_port: Port = Field(12019, description="Caddy's admin API, on loopback only")
    postgres_port: Port = Field(15432, description="The application's database, on loopback only")
    redis_port: Port = Field(16379, description="Redis, on loopback only")
    ollama_port: Port = Field(21434, description="Ollama, on loopback only")
    backend_port: Port = Field(18000, description="The application's backend, behind Caddy")
    backend_green_port: Port = Field(18001, description="The backend's second colour, while a release takes over from another")
    frontend_port: Port = Field(18080, description="The application's pages, behind Caddy")
    frontend_green_port: Port = Field(18081, description="The second colour of the pages")
    prefect_port: Port = Field(14200, description="The Prefect server: UI and API")
    prefect_postgres_port: Port = Field(15433, description="Prefect's own database, on loopback only")

    prefect_api_url: Annotated[str, AfterValidator(values.api)] | None = Field(
        None, description="Where programs reach the Prefect API; empty: the server that runs on this host"
    )
    prefect_auth_string: SecretStr = Field(description="user:password of the Prefect UI and API")
    prefect_postgres_password: SecretStr = Field(description="Password of Prefect's own database, never the application's")

    backup_targets: Annotated[tuple[Target, ...], Words] = Field(
        ("file:.officeops/backups",),
        description="Where backups go, separated by spaces: file:PATH, s3://BUCKET/PREFIX?endpoint=URL",
    )
    backup_age_recipients: Annotated[tuple[Recipient, ...], Words] = Field(
        (), description="age public keys (age1...), separated by spaces; empty: not encrypted"
    )
    backup_age_identity_file: Place | None = Field(None, description="File with the age secret key, needed to restore encrypted backups")
    aws_access_key_id: SecretStr | None = Field(
        None, description="Access key for s3: targets; empty: the usual AWS configuration of this host"
    )
    aws_secret_access_key: SecretStr | None = Field(None, description="Belongs to AWS_ACCESS_KEY_ID")
    aws_region: str = Field("us-east-1", pattern=r"^[a-z0-9-]+$", description="Region of s3: targets")

    notify_urls: Urls = Field((), description="Apprise URLs (Slack, mail, webhooks ...) that are told everything, separated by spaces")
    notify_urls_warning: Urls = Field((), description="Told warnings and what is critical")
    notify_urls_critical: Urls = Field((), description="Told what is critical only")
    notify_urls_system_administrator: Urls = Field((), description="Told what the system administrator answers for")
    notify_urls_database_administrator: Urls = Field((), description="Told what the database administrator answers for")
    notify_urls_development_lead: Urls = Field((), description="Told what the development lead answers for")

    @property
    def zone(self) -> ZoneInfo:
        """The zone of `TZ`."""
        return ZoneInfo(self.tz)


PORTS = tuple(name for name in Settings.model_fields if name.endswith("_port"))
# Generated on first use; the least number of characters that is accepted (of PREFECT_AUTH_STRING: behind the colon).
SECRETS = {"postgres_password": 16, "jwt_secret_key": 32, "prefect_auth_string": 16, "prefect_postgres_password": 16}


def is_secret(name: str) -> bool:
    """Whether the field's value is never shown."""
    return "SecretStr" in repr(Settings.model_fields[name].annotation)
