"""What making a backup is, whatever it holds: objects put into every target, read back, published; what is left unfinished goes.

A kind of backup adds the verbs that produce its objects (`officeops/backups/backup.py`, `officeops/volumes/backup.py`):

        <its own verbs>
        backup.verify(target)               each object read back
        backup.publish(target)              the manifest, last
        backup.report()                     raises when any target has no verified backup

Nothing is listed before its manifest is there. Leaving the block before that removes what was stored.
"""

from __future__ import annotations

import os
import secrets
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from officeops.backups import manifest as layout
from officeops.backups.codec import encode, extension
from officeops.backups.manifest import Codec, Manifest, StoredObject
from officeops.backups.objects import create_manifest, record_copy, remove_objects, verify_object
from officeops.errors import OfficeOpsError
from officeops.progress import Meter
from officeops.streams import Failed, Tally, broadcast, read_chunks

if TYPE_CHECKING:
    from officeops.site import Site
    from officeops.store import ObjectInfo, Store

AnyManifest = TypeVar("AnyManifest", bound=Manifest, covariant=True)


class BackupError(OfficeOpsError):
    """A step of a backup failed."""


class TargetError(BackupError):
    """Some targets did not take it. `transient`: asking again may help."""

    def __init__(self, failures: dict[str, OfficeOpsError], step: str) -> None:
        self.failures = failures
        self.transient = any(failure.transient for failure in failures.values())
        super().__init__(f"{step} failed for " + "; ".join(f"{target}: {failure}" for target, failure in failures.items()))


@dataclass
class Outcome:
    """What became of a backup in one target."""

    objects: dict[str, ObjectInfo] = field(default_factory=dict)
    verified_at: datetime | None = None
    published: bool = False
    errors: dict[str, str] = field(default_factory=dict)

    @property
    def error(self) -> str:
        """What failed, stage by stage; empty when nothing did."""
        return "; ".join(f"{stage}: {why}" for stage, why in self.errors.items())


@dataclass(frozen=True)
class Report(Generic[AnyManifest]):
    """A finished backup. seconds: from begin to the last manifest."""

    manifest: AnyManifest
    outcomes: dict[str, Outcome]
    seconds: float

    @property
    def verified(self) -> bool:
        """Every target holds it and was read back."""
        return all(outcome.published for outcome in self.outcomes.values())


def new_identifier(site: Site) -> str:
    """Of a backup that begins now."""
    return f"{site.clock():%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"


class Making(ABC, Generic[AnyManifest]):
    """A backup in the making."""

    def __init__(self, site: Site, identifier: str, codec: Codec) -> None:
        self._site, self.id, self._codec = site, identifier, codec
        self._timeout = site.config.runbook.backups.timeout_minutes * 60
        self._started = site.clock()
        self._plain: dict[str, StoredObject] = {}
        self.outcomes = {target: Outcome() for target in site.targets}
        self._failures: dict[str, str] = {}
        self._manifest: AnyManifest | None = None
        self._open = ExitStack()
        self._cancelled = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _type: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None) -> None:
        self._cancelled.set()
        self._open.close()
        for target, outcome in self.outcomes.items():
            if not outcome.published:
                with suppress(OfficeOpsError):  # out of reach: swept as an orphan by a later run
                    remove_objects(self._site, self._site.targets[target], self.id)
        complete = self._manifest is not None and all(outcome.published for outcome in self.outcomes.values())
        self._site.ledger.end(self.id, "done" if complete else "failed", None if error is None else str(error))

    @property
    @abstractmethod
    def expected(self) -> set[str]:
        """Names of the objects that it has when it is whole."""

    @abstractmethod
    def _described(self) -> AnyManifest:
        """The manifest, made now. Raises BackupError while anything is missing from it."""

    def complete_targets(self) -> list[str]:
        """Targets that took every object: those that can be read back and published."""
        return [target for target, outcome in self.outcomes.items() if outcome.objects.keys() == self.expected]

    def verify(self, target: str) -> None:
        """Reads every object back from `target` and compares checksums. Raises DamagedError."""
        self._journal("verify")
        store = self._site.targets[target]
        try:
            for name in self.outcomes[target].objects:
                verify_object(store, self._plain[name])
        except OfficeOpsError as error:
            self.outcomes[target].errors["read back"] = str(error)
            raise
        self.outcomes[target].verified_at = self._site.clock()
        self.outcomes[target].errors.pop("read back", None)

    def publish(self, target: str) -> None:
        """Writes the manifest into `target` and reads it back: from here on it is a backup. Raises BackupError before it was verified."""
        outcome = self.outcomes[target]
        if outcome.verified_at is None:
            raise BackupError(f"{target} was not read back, so it is not published.")
        self._journal("publish")
        manifest = self.manifest()
        try:
            create_manifest(self._site.targets[target], manifest)
        except OfficeOpsError as error:
            outcome.errors["publish"] = str(error)
            raise
        record_copy(self._site.ledger, target, manifest, verified_at=outcome.verified_at)
        outcome.published = True
        outcome.errors.pop("publish", None)

    def manifest(self) -> AnyManifest:
        """The same for all targets. Raises BackupError while anything is missing from it."""
        if self._manifest is None:
            self._manifest = self._described()
        return self._manifest

    def report(self) -> Report[AnyManifest]:
        """What was made. Raises BackupError naming every target that has no verified backup."""
        failed = {target: outcome for target, outcome in self.outcomes.items() if not outcome.published}
        if failed:
            good = [target for target in self.outcomes if target not in failed]
            why = [f"{stage}: {error}" for stage, error in self._failures.items()]
            why += [f"{target}: {outcome.error}" for target, outcome in failed.items() if outcome.error]
            raise BackupError(
                f"The backup {self.id} failed in {'; '.join(why) or 'a step that did not run'}",
                state=f"It is complete and verified in {', '.join(good)}."
                if good
                else "Nothing was published and what was stored is removed.",
                todo="Mend what is named above and run `officeops backup` again.",
            )
        return Report(self.manifest(), self.outcomes, (self._site.clock() - self._started).total_seconds())

    def _common(self) -> dict[str, Any]:
        """What manifests of all kinds say."""
        deployed = self._site.stack.deployed()
        return {
            "id": self.id, "stack": self._site.name, "started_at": self._started, "finished_at": self._site.clock(),
            "release": deployed.sha if deployed else None, "codec": self._codec, "targets": tuple(self.outcomes), "objects": self._plain,
        }  # fmt: skip

    def _incomplete(self) -> BackupError:
        return BackupError(f"The backup {self.id} is not complete.", state="Nothing was published.")

    def _journal(self, step: str) -> None:
        self._site.ledger.advance(self.id, step)

    def _store(self, name: str, file: str, produce: Callable[[], Iterator[bytes]], *, estimate: int | None) -> None:
        """An object, encoded, to every target that has none of that name yet. produce: begins its stream anew; called only when no target
        has it. Raises what the stream raises, and TargetError when targets fail."""
        missing = {target: store for target, store in self._site.targets.items() if name not in self.outcomes[target].objects}
        key = layout.folder(self._site.name, self.id) + file + extension(self._codec)
        self._site.ledger.advance(self.id, name, **{f"{layout.JOURNALLED_KEY}{name}": key})  # an unfinished upload is in no listing
        if having := [store for target, store in self._site.targets.items() if target not in missing]:
            return self._copy(name, having[0], missing)
        meter = Meter(name, estimate, every=8 << 20)
        plain, stored = Tally(meter.add), Tally()
        encoded = stored.through(encode(plain.through(self._unless_cancelled(produce())), self._codec, threads=os.cpu_count() or 1))
        put: dict[str, Callable[[Iterator[bytes]], ObjectInfo]] = {
            target: partial(store.put, key, estimate=estimate) for target, store in missing.items()
        }
        with self._stage(name):
            results = broadcast(encoded, put)
        meter.finish()
        self._plain[name] = StoredObject(
            key=key, bytes=stored.bytes, sha256=stored.sha256, plain_bytes=plain.bytes, plain_sha256=plain.sha256
        )
        self._settle(name, results)

    def _copy(self, name: str, holder: Store, missing: dict[str, Store]) -> None:
        """What one target has goes to the others as it is: a second dump would be other bytes, and the manifest has one checksum for all."""
        known = self._plain[name]
        meter = Meter(name, known.bytes, every=8 << 20)
        put: dict[str, Callable[[Iterator[bytes]], ObjectInfo]] = {
            target: partial(store.put, known.key, estimate=known.bytes) for target, store in missing.items()
        }
        with self._stage(name), holder.open(known.key) as reader:
            results = broadcast(self._unless_cancelled(Tally(meter.add).through(read_chunks(reader))), put)
        meter.finish()
        self._settle(name, results)

    def _settle(self, name: str, results: dict[str, ObjectInfo | Failed]) -> None:
        failures = {}
        for target, result in results.items():
            if isinstance(result, Failed):
                error = result.error
                failures[target] = error if isinstance(error, OfficeOpsError) else BackupError(f"{type(error).__name__}: {error}")
                self.outcomes[target].errors[name] = str(failures[target])
            else:
                self.outcomes[target].objects[name] = result
                self.outcomes[target].errors.pop(name, None)
        if failures:
            raise TargetError(failures, name)

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        """Remembers the last failure of a stage, for the report; a later success takes it back."""
        try:
            yield
        except Exception as error:
            self._failures[name] = str(error)
            raise
        self._failures.pop(name, None)

    def _unless_cancelled(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            if self._cancelled.is_set():
                raise BackupError(f"The backup {self.id} was cancelled.")
            yield chunk
