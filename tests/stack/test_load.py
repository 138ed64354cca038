"""The strict load of the benchmarks, on every stack: nothing fails while nothing happens, and what is lost when something does is counted."""

from __future__ import annotations

import time

import pytest

from officeops.releases.models import pull_models
from officeops.stack.local.ollama import asked_seconds
from tests.support.load import strict_load
from tests.support.stack import RunningStack

pytestmark = pytest.mark.xdist_group("stack")


def test_a_stack_that_is_left_alone_answers_everything(running: RunningStack) -> None:
    running.stack.seed(running.release)
    pull_models(running.site, running.release)
    with strict_load(running.site) as load:
        load.stream(5)
        time.sleep(4)
        record = load.end()
    assert record.first_failures == []
    assert set(record.by_kind()) == {"get", "post", "one-shot", "slow post", "stream"}
    assert record.releases == ["", running.release.sha]
    assert record.wrong_releases(running.release.sha, [])[0] == 0
    ends = [seconds for seconds in record.seconds if seconds > 4.5]
    assert len(ends) == 1, "one stream lasts five seconds"


def test_a_backend_that_is_killed_costs_answers(running: RunningStack) -> None:
    running.stack.seed(running.release)
    with strict_load(running.site) as load:
        time.sleep(2)
        running.kill("backend")
        time.sleep(4)
        record = load.end()
    assert record.failed_count > 0
    assert "stream" in {kind for _, kind, _ in record.first_failures}
    assert record.by_kind()["get"]["failed"] < record.by_kind()["get"]["requests"]


@pytest.mark.parametrize(
    ("question", "seconds"),
    [("Please talk for 30 seconds.", 30), ("300秒話してください", 300), ("Talk for 99999 seconds", 3600), ("In 30 seconds?", None)],
)
def test_the_simulated_model_talks_for_as_long_as_it_is_asked_to(question: str, seconds: int | None) -> None:
    assert asked_seconds(question) == seconds
