"""The report of a run that did not do what was asked."""

from __future__ import annotations

from officeops.errors import OfficeOpsError
from tasks.account import ending
from tasks.approvals import RejectedError


def test_it_says_what_happened_how_things_are_and_what_to_do() -> None:
    text = ending(
        "restore", "failed", OfficeOpsError("The dump is cut.", state="The live database is untouched.", todo="Take another backup.")
    )
    assert text.startswith("## restore: failed")
    for said in (
        "**What happened.** The dump is cut.",
        "**How things are.** The live database is untouched.",
        "**What to do.** Take another backup.",
    ):
        assert said in text


def test_a_defect_is_called_one_and_there_is_something_to_do_all_the_same() -> None:
    text = ending("deploy", "failed", KeyError("colour"))
    assert "a defect of this program" in text
    assert "officeops reconcile" in text
    assert "**What to do.** Look at the run's log" in text


def test_a_rejection_asks_for_nothing() -> None:
    text = ending("restore", "rejected", RejectedError("Sato", "not today"))
    assert "Rejected by Sato: not today." in text
    assert "**How things are.** Nothing was changed." in text
    assert "**What to do.** Nothing." in text
