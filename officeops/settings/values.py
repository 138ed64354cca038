"""What single values of `.env` may be. Each check returns the value or raises ValueError saying what is allowed, in a person's words."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import SecretStr

_NAME_BYTES = 63  # PostgreSQL cuts longer names without a word
_NO_ROLES = ("public", "none")
_IMAGE = re.compile(
    r"(?:[A-Za-z0-9.-]+(?::\d+)?/)?"  # a registry
    r"[a-z0-9]+(?:[._/-]+[a-z0-9]+)*(?::(?P<tag>[\w][\w.-]{0,127}))?(?P<digest>@sha256:[0-9a-f]{64})?"
)
_SERVERS_OWN = ("postgres", "template0", "template1")


def zone(name: str) -> str:
    """A name of the time zone database."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError("the name of a time zone, such as Asia/Tokyo or UTC") from error
    return name


def path(value: Path) -> Path:
    """A path whose `~user`, if it begins with one, exists; not the content of a key file."""
    if str(value).upper().startswith("AGE-SECRET-KEY-"):
        raise ValueError("the path of the file that has the key")
    try:
        return value.expanduser()
    except RuntimeError as error:
        raise ValueError("a path; this host knows no home folder of that name") from error


def role(name: str) -> str:
    """A name that PostgreSQL lets a superuser have."""
    if len(name.encode()) > _NAME_BYTES or name.startswith("pg_") or name in _NO_ROLES:
        raise ValueError(f"a name of at most {_NAME_BYTES} bytes that does not begin with pg_, none of {', '.join(_NO_ROLES)}")
    return name


def database(name: str) -> str:
    """A name for a database that is not one of the server's own."""
    if len(name.encode()) > _NAME_BYTES or name in _SERVERS_OWN:
        raise ValueError(f"a name of at most {_NAME_BYTES} bytes, none of {', '.join(_SERVERS_OWN)}")
    return name


def target(url: str) -> str:
    """A place for backups. Credentials have no place in it: it is shown wherever a backup is."""
    if not (_is_folder(url) if url.startswith("file:") else _is_bucket(url)):
        raise ValueError("file:PATH or s3://BUCKET/PREFIX?endpoint=URL; credentials go into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    return url


def target_path(url: str) -> Path:
    """The folder of a `file:` target, relative to the folder of `.env`."""
    return Path(url.removeprefix("file:").removeprefix("//")).expanduser()


def _is_folder(url: str) -> bool:
    if re.match(r"file://[^/]", url) or not url.removeprefix("file:").strip("/"):  # behind two slashes a URL has a host
        return False
    try:
        target_path(url)
    except RuntimeError:  # ~somebody whom this host does not know
        return False
    return True


def _is_bucket(url: str) -> bool:
    if not url.startswith("s3://") or "@" in unquote(url) or "#" in url:
        return False
    try:
        parts, endpoints = urlsplit(url), parse_qs(urlsplit(url).query, keep_blank_values=True)
        endpoint = urlsplit(endpoints["endpoint"][0]) if endpoints else None
    except (ValueError, KeyError):
        return False
    if not parts.netloc or len(endpoints) > 1 or len(endpoints.get("endpoint", [])) > 1:
        return False
    return endpoint is None or (endpoint.scheme in ("http", "https") and bool(endpoint.hostname))


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
    # A relative path would start wherever the command happens to be run.
    if not re.match(r"postgresql\+psycopg://.|sqlite:////.", url.get_secret_value()):
        raise ValueError("postgresql+psycopg://USER:PASSWORD@HOST/DATABASE or sqlite:////PATH")
    return url


def notification(url: SecretStr) -> SecretStr:
    """A URL for Apprise, which knows some 130 kinds."""
    if not re.match(r"[A-Za-z][A-Za-z0-9+.-]*://.", url.get_secret_value()):
        raise ValueError("a URL that Apprise knows, such as https://... or mailto://...")
    return url


def api(url: str) -> str:
    """Where an API is asked, without the slash at its end."""
    if not re.fullmatch(r"https?://[^\s@/]+(/[^\s@]*)?", url):
        raise ValueError("http://HOST:PORT/api; the user and password are in PREFECT_AUTH_STRING")
    return url.rstrip("/")


def image(reference: str) -> str:
    """A container image that is the same tomorrow: with a tag that is not `latest`, or a digest."""
    parts = _IMAGE.fullmatch(reference)
    if parts is None or not (parts["tag"] or parts["digest"]) or parts["tag"] == "latest":
        raise ValueError("an image with its tag, such as postgres:18-bookworm; never latest, which is another one tomorrow")
    return reference


def site(addresses: str) -> str:
    """Addresses of a site, as Caddy's configuration takes them."""
    if addresses and not all(re.fullmatch(r"(?=.)(https?://)?[\w.*\[\]:-]*", address.strip()) for address in addresses.split(",")):
        raise ValueError("addresses separated by commas, such as office.example.com, www.example.com")
    return addresses


def tls(issuer: str) -> str:
    """Who signs the certificates, when it is not a public authority."""
    if issuer not in ("", "internal"):
        raise ValueError("internal, or nothing")
    return issuer


def words(value: object) -> object:
    """Text as the tuple of its words."""
    return tuple(value.split()) if isinstance(value, str) else value


def shown(text: str) -> str:
    """`text` for a person's eyes: credentials of URLs and age secret keys, which land in the wrong key now and then, taken out."""
    text = re.sub(r"(://|%3A%2F%2F)\S*(@|%40)", r"\1(hidden)\2", text, flags=re.IGNORECASE)
    text = re.sub(r"([?&](?!endpoint=)[^=&\s]*=)[^&\s]+", r"\1(hidden)", text)
    return re.sub(r"AGE-SECRET-KEY-\S*", "(hidden)", text, flags=re.IGNORECASE)
