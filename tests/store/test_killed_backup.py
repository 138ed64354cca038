"""An upload that a killed backup left unfinished is in no listing, and is removed by the next run all the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from officeops.backups.backup import Backup, TargetError
from officeops.site import Site
from tests.support.backups import back_up
from tests.support.s3 import KEYS, S3Endpoint, misbehaving


def test_the_next_backup_removes_the_unfinished_upload_of_a_killed_one(
    new_site: Callable[..., Site], run_sql: Callable[..., object], s3: S3Endpoint, bucket: str, leftovers: Callable[[], tuple[int, int]]
) -> None:
    run_sql("CREATE TABLE blobs AS SELECT sha512(n::text::bytea) FROM generate_series(1, 300000) n")
    cut_off = [True]
    with misbehaving(s3, lambda method, path: 403 if cut_off[0] and (method == "DELETE" or "partNumber" in path) else None) as endpoint:
        site = new_site(BACKUP_TARGETS=f"s3://{bucket}/p?endpoint={endpoint.url}", **KEYS)
        killed = Backup.begin(site)
        killed.snapshot()
        with pytest.raises(TargetError):
            killed.dump()
        assert leftovers() == (0, 1)
        cut_off[0] = False
        assert back_up(site).verified
    assert leftovers() == (3, 0)
    killed.__exit__(None, None, None)
