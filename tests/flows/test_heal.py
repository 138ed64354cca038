"""A remedy that asks first, as a run of the flow `heal` on a real server with a real worker, on a real database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg
import pytest

from officeops.ledger.watching import Incident
from officeops.lock import lock_holder
from officeops.postgres.connect import connected
from tests.flows.test_approvals import DATABASE, answer, inputs, suspended
from tests.support.control_plane import Plane
from tests.support.ports import eventually
from tests.support.postgres import Running

pytestmark = pytest.mark.xdist_group("control_plane")
OWN = '''
from officeops.postgres.connect import connected
from officeops.remedies import Remedy, Step

def end(site):
    with connected(site.stack.database(), application="officeops heal") as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'somebody who left'")

class OldTransaction(Remedy):
    """A transaction that somebody forgot."""
    name = "old-transaction"
    def fits(self, patient):
        return patient.measure == "transaction"
    def diagnose(self, patient):
        return {"whose": "somebody who left"}
    def ladder(self, patient):
        return [Step("end it", lambda: end(patient.site))]
'''


@pytest.fixture
def asking(plane: Plane) -> Iterator[None]:
    """The site's runbook has a remedy that asks."""
    runbook, own = plane.site.config.folder / "runbook.yaml", plane.site.config.folder / "own.py"
    before = runbook.read_text()
    own.write_text(OWN)
    rules = "alerts: {rules: {postgres.transaction: {limit: 1, for_seconds: 86400}}}\n"  # nothing for the watcher of the control plane
    runbook.write_text(
        rules + before.replace("remedies: {mode: never}", "remedies: {mode: never, changes: {old-transaction: {mode: ask}}, file: own.py}")
    )
    yield
    runbook.write_text(before)
    own.unlink()


@contextmanager
def old_transaction(postgres: Running) -> Iterator[psycopg.Connection[object]]:
    with (
        suppress(psycopg.OperationalError),
        connected(postgres.address(DATABASE), application="somebody who left", autocommit=False) as held,
    ):
        held.execute("SELECT 1")
        yield held


def newest(plane: Plane) -> Incident:
    return plane.site.ledger.incidents(target="postgres")[0]


@pytest.mark.usefixtures("asking")
def test_a_remedy_that_asks_waits_for_its_form_and_is_done_once_or_somebody_is_called(plane: Plane, postgres: Running) -> None:
    with old_transaction(postgres):
        asked = suspended(plane, plane.start("heal", probe="postgres.transaction"))
        description = inputs(plane, asked)["description"]
        assert "**Next step: end it**" in description
        assert "somebody who left" in description
        eventually(lambda: lock_holder(plane.site.home, plane.site.name) is None, 20, "the lock's release")
        waits = newest(plane)
        assert (waits.outcome, waits.asks) == ("asked", "end it")
        assert answer(plane, asked, "approve", "they went home") == "ACCEPT"
        assert plane.ended(asked, 150).state_name == "Healed"
    done = newest(plane)
    assert (done.id, done.outcome, done.actions) == (waits.id, "healed", ("end it",))
    (approval,) = [one for one in plane.site.ledger.approvals() if one.run == str(asked.id)]
    assert (approval.action, approval.decision, approval.who) == ("heal", "approve", "Sato")

    with old_transaction(postgres) as held:
        asked = suspended(plane, plane.start("heal", probe="postgres.transaction"))
        assert answer(plane, asked, "reject", "they come back") == "ACCEPT"
        ended = plane.ended(asked, 150)
        assert held.execute("SELECT 1").fetchone() == (1,)
    assert ended.state is not None
    assert (ended.state.type.value, ended.state.message) == ("CANCELLED", "Rejected by Sato: they come back. A person was called.")
    assert (newest(plane).outcome, newest(plane).actions) == ("paged", ())
    assert [
        body for body in plane.channel.sent_to("/webhook") if "postgres.transaction needs a person" in body and "they come back" in body
    ]
