"""What the dashboard says of archives."""

from __future__ import annotations

from collections.abc import Callable

from officeops.site import Site
from tasks.archives import policy_rows
from tests.support.archives import archive, export, fill


def test_a_policy_is_there_before_its_first_batch_and_then_says_what_it_took_and_what_waits(
    site: Site, site_of: Callable[..., Site], run_sql: Callable[..., object]
) -> None:
    (before,) = policy_rows(site)
    assert (before["policy"], before["batches"], before["rows archived"], before["last export"]) == ("talks", 0, 0, "never")
    archive(site)
    (done,) = policy_rows(site)
    assert (done["batches"], done["rows archived"], done["batches that wait"]) == (1, 100, "")
    assert done["last export"] != "never"
    fill(run_sql, first=100)
    (waiting,) = export(site)
    (row,) = policy_rows(site)
    assert (row["batches"], row["rows archived"], row["batches that wait"]) == (2, 100, waiting.id)
    assert policy_rows(site_of()) == []
