"""What single values of `.env` may be. Each check returns the value or raises ValueError saying what is allowed, in a person's words."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import SecretStr

_NAME_BYTES = 63  # PostgreSQL cuts longer names without a word
_SERVERS_OWN = ("postgres", "template0", "template1")


def zone(name: str) -> str:
    """A name of the time zone database."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError("the name of a time zone, such as Asia/Tokyo or UTC") from error
    return name


def path(value: Path) -> Path:
    """A path whose `~user`, if it begins with one, exists."""
    try:
        return value.expanduser()
    except RuntimeError as error:
        raise ValueError("a path; this host knows no home folder of that name") from error


def role(name: str) -> str:
    """A name that PostgreSQL lets a superuser have."""
    if len(name.encode()) > _NAME_BYTES or name.startswith("pg_"):
        raise ValueError(f"a name of at most {_NAME_BYTES} bytes that does not begin with pg_")
    return name


def database(name: str) -> str:
    """A name for a database that is not one of the server's own."""
    if len(name.encode()) > _NAME_BYTES or name in _SERVERS_OWN:
        raise ValueError(f"a name of at most {_NAME_BYTES} bytes, none of {', '.join(_SERVERS_OWN)}")
    return name


def target(url: str) -> str:
    """A place for backups. Credentials have no place in it: it is shown wherever a backup is."""
    if re.match(r"file:.", url) and urlsplit(url).path.strip("/") != "":
        return url
    parts = urlsplit(url)
    if parts.scheme == "s3" and parts.netloc and "@" not in url and _endpoint_only(parts.query):
        return url
    raise ValueError("file:PATH or s3://BUCKET/PREFIX?endpoint=URL; credentials go into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")


def recipient(key: str) -> str:
    """An age public key, its checksum tested."""
    from pyrage import RecipientError, x25519

    try:
        x25519.Recipient.from_str(key)
    except RecipientError as error:
        raise ValueError("an age public key: age1..., as `age-keygen -y` prints it") from error
    return key


def ledger(url: SecretStr) -> SecretStr:
    """An SQLAlchemy URL of a database that the ledger can live in."""
    if not re.match(r"postgresql\+psycopg://.|sqlite:///.", url.get_secret_value()):
        raise ValueError("postgresql+psycopg://USER:PASSWORD@HOST/DATABASE or sqlite:////PATH")
    return url


def notification(url: SecretStr) -> SecretStr:
    """A URL for Apprise, which knows some 130 kinds."""
    if not re.match(r"[A-Za-z][A-Za-z0-9+.-]*://.", url.get_secret_value()):
        raise ValueError("a URL that Apprise knows, such as https://... or mailto://...")
    return url


def words(value: object) -> object:
    """Text as the tuple of its words."""
    return tuple(value.split()) if isinstance(value, str) else value


def without_credentials(text: str) -> str:
    """`text` with what stands between :// and @ taken out."""
    return re.sub(r"://[^/?\s]*@", "://(hidden)@", text)


def _endpoint_only(query: str) -> bool:
    given = parse_qs(query, keep_blank_values=True)
    return not given or (set(given) == {"endpoint"} and all(re.match(r"https?://[^/]", url) for url in given["endpoint"]))
