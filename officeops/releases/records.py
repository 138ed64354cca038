"""Releases as the ledger has them: what each was made of and ran with, which ones stay, which one is meant.

The values of a release's settings are in a file of their own that only its owner can read, beside the ledger.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import secrets
import socket
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from officeops import files
from officeops.clock import iso
from officeops.errors import OfficeOpsError, UsageError
from officeops.ledger import ReleaseRecord
from officeops.settings import Settings
from officeops.settings.document import explained
from officeops.stack.port import Colour, Release, commit_of, short
from officeops.stack.values import setting_values

if TYPE_CHECKING:
    from officeops.site import Site

PREVIOUS = "previous"


def new_record(site: Site, release: Release, *, kind: str, strategy: str, colour: Colour, why: str) -> ReleaseRecord:
    """Of a release that is about to take over, kept before anything else is done."""
    identifier = f"{kind}-{site.clock():%Y%m%d_%H%M%S}-{release.sha[:7]}-{secrets.token_hex(2)}"
    _keep_settings(site, identifier, release.settings)
    record = ReleaseRecord(
        identifier, release.sha, kind, strategy, colour, site.stack.artifact(release), hashes(site, release), who(), why, iso(site.clock())
    )
    site.ledger.record_release(record)
    return record


def change(site: Site, identifier: str, **facts: Any) -> None:
    """Writes down what became of a release."""
    record = next(one for one in site.ledger.releases() if one.id == identifier)
    site.ledger.record_release(replace(record, **facts))


def retained(site: Site) -> list[ReleaseRecord]:
    """The releases that one can go back to without building, newest first: of each commit with its settings the newest taking over, as far as
    it is on this host, at most as many as the runbook keeps; the one that runs is the first."""
    built = {release.sha for release in site.stack.built()}
    found: dict[_Key, ReleaseRecord] = {}
    for record in site.ledger.releases():
        if record.outcome == "deployed" and record.sha in built:
            found.setdefault(_key(record.sha, settings_of(site, record.id)), record)
    return list(found.values())[: site.config.runbook.releases.keep]


_Key = tuple[str, frozenset[tuple[str, str]]]


def _key(sha: str, settings: Mapping[str, str]) -> _Key:
    """What makes a release another one: its commit, and the settings that it runs with."""
    return sha, frozenset((key, value) for key, value in settings.items() if key in Settings.model_fields)


def running(site: Site) -> ReleaseRecord | None:
    """The record of the release that serves, as far as it is among the retained ones."""
    deployed = site.stack.deployed()
    wanted = _key(deployed.sha, deployed.settings) if deployed else None
    known = [record for record in retained(site) if deployed and record.sha == deployed.sha]
    return next((record for record in known if _key(record.sha, settings_of(site, record.id)) == wanted), known[0] if known else None)


def release_of(site: Site, record: ReleaseRecord) -> Release:
    """The release with the settings that it ran with. Raises UsageError when it is not on this host any more."""
    built = next((release for release in site.stack.built() if release.sha == record.sha), None)
    if built is None:
        raise UsageError(
            f"The release {short(record.sha)} is not on this host any more.",
            state="Nothing was changed.",
            todo=f"Build it again: `officeops deploy {commit_of(record.sha)[:10]}`.",
        )
    return replace(built, settings=settings_of(site, record.id))


def settings_of(site: Site, identifier: str) -> dict[str, str]:
    """The values that a release ran with; none when nobody wrote any down."""
    try:
        found: dict[str, str] = json.loads(_settings_file(site, identifier).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return {key: value for key, value in found.items() if key in Settings.model_fields}


def find(site: Site, wanted: str = PREVIOUS) -> ReleaseRecord:
    """`previous`: the one before the one that runs, never one that was left by going back; else the one whose sha begins so. Raises
    UsageError naming what there is."""
    known, serves = retained(site), running(site)
    others = [record for record in known if record != serves]
    fitting = _previous(site, others) if wanted == PREVIOUS else _meant(others, wanted.lower()) or _meant(known, wanted.lower())
    if len({record.sha for record in fitting}) == 1:
        return fitting[0]  # of one commit that ran with several settings, as it ran last
    names = ", ".join(short(record.sha) for record in others) or "none"
    missing = "There is no release before the one that runs" if wanted == PREVIOUS else f"There is no release {wanted!r} to go back to"
    left = "; what is left was gone back from" if wanted == PREVIOUS and others else ""
    raise UsageError(
        f"{missing}{left}." if not fitting else f"{wanted!r} is the beginning of several releases.",
        state=f"Nothing was changed. Releases on this host beside the one that runs: {names}.",
        todo="Name one of them, or build another one with `officeops deploy REF`.",
    )


def _previous(site: Site, others: list[ReleaseRecord]) -> list[ReleaseRecord]:
    """A release that was left by a rollback was no good: whoever goes back again wants the one before the one that runs. One that was named
    on purpose counts again."""
    line = list[_Key]()
    for record in reversed(site.ledger.releases()):
        if record.outcome != "deployed":
            continue
        key = _key(record.sha, settings_of(site, record.id))
        if key in line and record.kind in ("rollback", "emergency"):
            del line[line.index(key) + 1 :]
        else:
            line = [*(one for one in line if one != key), key]
    by_key = {_key(record.sha, settings_of(site, record.id)): record for record in others}
    return [by_key[key] for key in reversed(line) if key in by_key][:1]


def _meant(known: list[ReleaseRecord], wanted: str) -> list[ReleaseRecord]:
    """The one whose whole or short name that is, else those whose commit begins so."""
    exact = [record for record in known if wanted in (record.sha, short(record.sha))]
    commit, dash, rebuild = wanted.partition("-")
    return exact or [one for one in known if one.sha.startswith(commit) and (not dash or one.sha.endswith(f"{dash}{rebuild}"))]


def build(site: Site, ref: str) -> Release:
    """The release of a commit, with today's values of what belongs to a release. Of a commit that was built again it is the build that took
    over last: to deploy the commit anew does not bring the older one back. Raises what `Stack.build` does."""
    release = site.stack.build(ref)
    built = {one.sha: one for one in site.stack.built() if commit_of(one.sha) == release.sha}
    last = next((built[record.sha] for record in site.ledger.releases() if record.outcome == "deployed" and record.sha in built), release)
    return replace(last, settings=release_settings(site, site.stack.folder(last)))


def is_first(site: Site) -> bool:
    """Whether no release has ever held here: there is none, or the first one did not come to its end."""
    known = site.ledger.releases()
    return site.stack.deployed() is None or bool(known and all(record.outcome != "deployed" for record in known))


def needed(site: Site) -> set[str]:
    """The releases that one may want to go back to, the one that runs, those that are in the middle of something, and the one that can take
    the schema back."""
    found = {record.sha for record in retained(site)}
    deployed = site.stack.deployed()
    if deployed:
        found |= {deployed.sha, _keeper(site) or deployed.sha}
    return found | {record.sha for record in site.ledger.releases() if record.outcome is None}


def _keeper(site: Site) -> str | None:
    from officeops.releases.schema import Schema

    schema = Schema(site)
    try:
        current = schema.current()
    except OfficeOpsError:  # the database is down: what was written down last
        current = next((record.revision for record in site.ledger.releases() if record.revision), None)
    return schema.keeper(current)


def prune(site: Site) -> list[str]:
    """Removes releases that are built and that no rollback may need. Returns which went. `officeops clean-up` removes all else, too."""
    stays = needed(site)
    gone = [release.sha for release in site.stack.built() if release.sha not in stays]
    for sha in gone:
        site.stack.discard(sha)
    return gone


def release_settings(site: Site, folder: Path) -> dict[str, str]:
    """Today's values of the keys that the release's own `.env.example` marks as belonging to the release."""
    marked = [one.key.lower() for one in example_of(site, folder) if one.scope == "release"]
    values = setting_values(site.config.settings)
    return {name: _clear(values[name]) for name in marked if name in values}


def example_of(site: Site, folder: Path) -> list[Any]:
    """The keys of `.env` as a release's own example explains them; none when it has no such file."""
    name = site.config.runbook.application.env_example
    path = folder / name if name else None
    return explained(path.read_text(encoding="utf-8")) if path is not None and path.exists() else []


def hashes(site: Site, release: Release) -> dict[str, str]:
    """sha256 of what a release brings beside its code."""
    application, folder = site.config.runbook.application, site.stack.folder(release)
    files = {"lock": application.lock, "caddyfile": application.caddyfile}
    if application.compose:
        files["compose"] = application.compose.file
    return {name: hashlib.sha256((folder / file).read_bytes()).hexdigest() for name, file in files.items() if (folder / file).exists()}


def who() -> str:
    """Who does this, as far as the system knows."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # an account without a name
        name = str(os.geteuid())
    return f"{name}@{socket.gethostname()}"


def _keep_settings(site: Site, identifier: str, values: Mapping[str, str]) -> None:
    content = json.dumps(dict(values), ensure_ascii=False).encode()
    files.replace(_settings_file(site, identifier), content, mode=0o600)


def _settings_file(site: Site, identifier: str) -> Path:
    return site.home / "release-settings" / f"{identifier}.json"


def _clear(value: Any) -> str:
    return str(value.get_secret_value() if hasattr(value, "get_secret_value") else value)
