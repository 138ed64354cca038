"""Backup, drill and restore of a running office, on every stack and to every kind of target."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from officeops.config import Config
from officeops.order import put_in_order
from officeops.postgres.connect import connected
from officeops.postgres.fingerprint import Fingerprint, differences, take
from officeops.restores.restore import Restore, Undo
from officeops.site import Site
from tests.support import backups
from tests.support.ports import eventually
from tests.support.s3 import KEYS, S3Endpoint
from tests.support.stack import RunningStack

pytestmark = pytest.mark.xdist_group("stack")


@pytest.fixture
def office(running: RunningStack, folder: Path, s3: S3Endpoint) -> Iterator[Site]:
    """The running stack with data, and with a folder and a bucket to back it up to."""
    running.stack.seed(running.release)
    config = running.site.config
    targets = (f"file:{folder}/backups", f"s3://{s3.new_bucket()}?endpoint={s3.url}")
    keys = {key.lower(): SecretStr(value) for key, value in KEYS.items()}
    settings = config.settings.model_copy(update={"backup_targets": targets, **keys})
    yield Site(Config(config.folder, settings, config.runbook))
    eventually(lambda: running.get("/ready").status_code == 200, what="readiness")


def fingerprint(site: Site) -> Fingerprint:
    """Of the live database."""
    with connected(site.stack.database(), application="test") as connection:
        return take(connection)


def test_a_dropped_table_comes_back_from_either_target_and_the_restore_can_be_undone(office: Site, running: RunningStack) -> None:
    before = fingerprint(office)
    with office.locked("test"):
        report = backups.back_up(office)
        assert report.verified
        assert {target.partition(":")[0] for target in report.outcomes} == {"file", "s3"}
        drilled = backups.drill(office)
        assert drilled["public.messages"].match
        for target in report.outcomes:
            with connected(office.stack.database(), application="test") as connection:
                connection.execute("DROP TABLE public.messages CASCADE")
            assert differences(before, fingerprint(office)) != []
            with Restore.begin(office, backups.source(office, target=target)) as restore:
                backups.load_beside(restore.beside)
                restore.beside.analyze()
                assert restore.swap.stop_writers() == ["backend"]
                restore.swap.swap()
                restore.swap.ask()
                restore.swap.start_writers()
                restore.swap.finish()
            assert differences(before, fingerprint(office)) == []
            assert running.get("/ready").status_code == 200
        with Undo.begin(office) as undo:
            undo.swap.stop_writers()
            undo.swap.swap()
            undo.swap.start_writers()
            undo.swap.finish()
        assert differences(before, fingerprint(office)) != []
        with Undo.begin(office) as undo:
            undo.swap.stop_writers()
            undo.swap.swap()
            undo.swap.start_writers()
            undo.swap.finish()
        assert differences(before, fingerprint(office)) == []
        assert put_in_order(office) == []
