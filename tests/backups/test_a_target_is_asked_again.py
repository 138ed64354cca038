"""A target that fails is asked again by the flow: what the other targets have stays good."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pyrage
import pytest

from officeops.backups.backup import Backup, BackupError, TargetError
from officeops.site import Site
from tests.support.s3 import KEYS, S3Endpoint, misbehaving

NewSite = Callable[..., Site]
Sql = Callable[..., list[tuple[object, ...]]]


def store_twice(backup: Backup, between: Callable[[], None]) -> None:
    """The first steps of a backup whose dump is asked for a second time."""
    backup.snapshot()
    backup.fingerprint()
    backup.dump_globals()
    with pytest.raises(TargetError):
        backup.dump()
    between()
    with suppress(TargetError):
        backup.dump()


def finish(backup: Backup) -> None:
    for target in backup.complete_targets():
        backup.verify(target)
        backup.publish(target)


@pytest.mark.parametrize("comes_back", [True, False], ids=["comes back", "stays away"])
def test_a_target_that_fails_costs_the_others_nothing(new_site: NewSite, run_sql: Sql, s3: S3Endpoint, comes_back: bool) -> None:
    run_sql("CREATE TABLE notes AS SELECT n AS id, md5(n::text) AS body FROM generate_series(1, 5000) n")
    away = [True]
    with misbehaving(s3, lambda method, path: 503 if away[0] and method == "PUT" and "database.dump" in path else None) as flaky:
        remote = f"s3://{s3.new_bucket()}/night?endpoint={flaky.url}"
        recipient = str(pyrage.x25519.Identity.generate().to_public())  # each encryption gives other bytes
        site = new_site(BACKUP_TARGETS=f"file:targets/one {remote}", BACKUP_AGE_RECIPIENTS=recipient, **KEYS)
        local = next(iter(site.targets))
        with suppress(BackupError), Backup.begin(site) as backup:
            store_twice(backup, lambda: away.__setitem__(0, not comes_back))
            finish(backup)
            backup.report()
    assert [target for target, outcome in backup.outcomes.items() if outcome.published] == ([local, remote] if comes_back else [local])
