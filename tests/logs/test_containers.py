"""Logs of containers: a real engine's, read by time, across rotation, restarts and containers that go."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from uuid import uuid4

import docker
import pytest
import requests
from docker.models.containers import Container

from officeops.logs.collecting import keep_last_words
from officeops.logs.reading import Reader
from officeops.logs.storing import export_all
from officeops.site import Site
from officeops.stack.compose import logs
from officeops.stack.compose.engine import COMPOSE_ONE_OFF, PROJECT, SERVICE, EngineDownError
from officeops.stack.port import LogSource
from tests.support.engine import Engine
from tests.support.killing import killer
from tests.support.logs import exported, numbers
from tests.support.ports import eventually
from tests.support.site import RUNBOOK

pytestmark = pytest.mark.xdist_group("compose")
# Both streams, in bursts that have no time for a nanosecond of their own each, and a line that the engine cuts.
PRINTER = """
n=$1; while [ $n -lt $2 ]; do n=$((n+1)); echo "line $n out"; n=$((n+1)); echo "line $n err" >&2; done
head -c 40000 /dev/zero | tr '\\\\0' x; echo " long"; while [ -z "$3" ]; do sleep 0.1; done
"""
Start = Callable[..., Container]


@pytest.fixture
def site(new_site: Callable[..., Site], engine: Engine) -> Site:
    """One on Compose."""
    made = new_site(OFFICEOPS_STACK="compose", **engine.env)
    runbook = made.config.folder / "runbook.yaml"
    runbook.write_text(RUNBOOK.replace("test_office", f"logs_{uuid4().hex[:8]}"))
    from officeops.site import open_site

    return open_site(made.config.folder)


@pytest.fixture
def start(site: Site, engine: Engine) -> Iterator[Start]:
    """Starts a container of the service `caddy` that prints lines from one number to another, and then waits, or ends."""
    with closing(engine.client()) as client, ExitStack() as stack:

        def begin(first: int, last: int, ends: str = "", *, script: str = PRINTER, **options: object) -> Container:
            labels = {PROJECT: site.name, SERVICE: "caddy", COMPOSE_ONE_OFF: "False"}
            command = ["sh", "-c", script, "sh", str(first), str(last), ends]
            container: Container = client.containers.create(engine.env["PYTHON_IMAGE"], command, labels=labels, **options)  # type: ignore[call-overload]
            stack.callback(_remove, container)
            container.start()
            return container

        yield begin


def _remove(container: Container) -> None:
    try:
        container.remove(force=True)
    except docker.errors.NotFound:
        return


def printed(container: Container, text: str, times: int = 1) -> None:
    """Waits until the engine has it, anywhere: it reads the two streams each for itself."""
    eventually(lambda: container.logs().decode().count(text) >= times, 60, text[-20:])


def test_each_line_is_exported_once_across_kills_restarts_and_new_containers(site: Site, start: Start) -> None:
    first = start(0, 400)
    printed(first, " long")
    with killer(site.config.folder, ["export logs"]) as killed:
        moment = 0
        while killed("export logs", moment):
            moment += 1
        first.restart(timeout=0)  # the same log goes on, with the same lines once more
        printed(first, " long", times=2)
        assert not killed("export logs", 10_000)
        first.stop(timeout=0)
        keep_last_words(site)  # as a release does between the end and the removal
        first.remove()
        second = start(400, 600)
        printed(second, " long")
        assert not killed("export logs", 10_000)
    assert moment > 5
    found = exported(site)
    assert sorted(numbers(found)) == sorted([*range(1, 401), *range(1, 401), *range(401, 601)])
    assert [len(line.text) for line in found if line.text.endswith(" long")] == [40_005] * 3
    assert site.ledger.log_gaps() == []
    assert max(numbers(Reader(site, ["caddy"]).last(400))) == 600  # the engine reads the two streams each for itself


def test_a_container_that_was_rotated_or_removed_too_soon_leaves_a_gap(site: Site, start: Start) -> None:
    limits = docker.types.LogConfig(type="json-file", config={"max-size": "100k", "max-file": "2"})
    container = start(0, 20, log_config=limits)
    printed(container, " long")
    export_all(site)
    container.exec_run(["sh", "-c", "for n in $(seq 9000); do echo more $n; done > /proc/1/fd/1"])
    printed(container, "more 9000")
    export_all(site)
    (rotated,) = site.ledger.log_gaps()
    assert "rotated" in rotated.why
    container.remove(force=True)
    export_all(site)
    export_all(site)
    assert [gap.why.partition(" ")[0] for gap in site.ledger.log_gaps()] == ["the", "it"]
    assert site.ledger.log_gaps()[1].before is None


# Of a long line the engine keeps the first 16 KiB at once, and the rest when it ends.
HALTING = """
head -c 20000 /dev/zero | tr '\\0' x; sleep 1; echo "line 1 in between" >&2; until [ -e /tmp/go ]; do sleep 0.1; done
echo " long"; echo "line 2 after it"; sleep 1000
"""


def test_a_long_line_stays_whole_when_the_other_stream_prints_in_between(site: Site, start: Start) -> None:
    container = start(0, 0, script=HALTING)
    printed(container, "line 1 in between")
    export_all(site)
    assert numbers(exported(site)) == [1]
    container.exec_run(["touch", "/tmp/go"])
    printed(container, "line 2 after it")
    export_all(site)
    found = exported(site)
    assert [len(line.text) for line in found if line.text.endswith("x long")] == [20_005]
    assert numbers(found) == [1, 2]
    assert len(found) == 3
    assert [len(line.text) for line in site.stack.logs("caddy")] == [17, 20_005, 15]


# Ends in the middle of two lines the first time; the second time it prints, then ends one, then another.
ENDING = """
if [ ! -e /tmp/again ]; then touch /tmp/again; echo "line 1 whole"; printf "line 2 cut" ; printf "line 3 cut" >&2; exit 3; fi
until [ -e /tmp/go ]; do sleep 0.1; done; echo "line 4 whole" >&2; until [ -e /tmp/on ]; do sleep 0.1; done; echo "line 5 whole"; sleep 1000
"""


def test_a_line_that_a_container_left_without_an_end_comes_once_and_takes_no_other_with_it(site: Site, start: Start) -> None:
    container = start(0, 0, script=ENDING)
    assert container.wait()["StatusCode"] == 3
    export_all(site)
    container.start()  # the same log goes on
    for file, text, so_far in (("", "line 3", [1, 2, 3]), ("/tmp/go", "line 4", [1, 2, 3, 4]), ("/tmp/on", "line 5", [1, 2, 3, 4, 5])):
        if file:
            container.exec_run(["touch", file])
        printed(container, text)
        for _ in range(2):
            export_all(site)
            assert sorted(numbers(exported(site))) == so_far
    assert site.ledger.log_gaps() == []
    assert {line.text for line in exported(site)} == {"line 1 whole", "line 2 cut", "line 3 cut", "line 4 whole", "line 5 whole"}


def test_an_engine_that_goes_away_in_the_middle_of_an_answer_is_told_as_such(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(*_: object, **__: object) -> Iterator[tuple[int, bytes]]:
        yield 1, b"2026-03-01T08:00:00.000000001Z 1\n"
        raise requests.exceptions.ChunkedEncodingError("Connection broken")

    monkeypatch.setattr(logs, "_frames", cut)
    with pytest.raises(EngineDownError):
        list(logs.read(site.stack.engine, LogSource("c" * 64, "caddy", running=True), None))  # type: ignore[attr-defined]


def test_a_terminals_lines_are_lines(site: Site, start: Start) -> None:
    container = start(0, 20, tty=True)
    printed(container, " long")
    export_all(site)
    export_all(site)
    assert numbers(exported(site)) == list(range(1, 21))
    assert all(not line.text.endswith("\r") for line in exported(site))


@pytest.mark.parametrize("size", [1, 7, 100])
def test_frames_are_found_wherever_the_answer_is_cut(size: int) -> None:
    frames = [(1, b"a\n"), (2, b"b" * 50), (1, b""), (2, b"c\n")]
    answer = b"".join(stream.to_bytes(1, "big") + bytes(3) + len(text).to_bytes(4, "big") + text for stream, text in frames)
    assert list(logs._demultiplexed(answer[at : at + size] for at in range(0, len(answer), size))) == frames


def test_lines_of_one_nanosecond_are_told_apart(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = [b"2026-03-01T08:00:00.000000001Z %d\n" % number for number in range(1, 8)]
    frames[5:] = [b"2026-03-01T08:00:00.000000000Z 6\n", b"2026-03-01T08:00:00.000000001Z 7\n"]  # another stream was a little late
    there = frames[:3]
    monkeypatch.setattr(logs, "_frames", lambda *_, **__: ((1, frame) for frame in there))
    source = LogSource("c" * 64, "caddy", running=True)

    def read(cursor: str | None) -> tuple[list[bytes], str]:
        blocks = list(logs.read(site.stack.engine, source, cursor))  # type: ignore[attr-defined]
        return [text for block in blocks for text in block.text.split(b"\n")], blocks[-1].cursor if blocks else str(cursor)

    found, cursor = read(None)
    assert (found, json.loads(cursor)["count"]) == ([b"1", b"2", b"3"], 3)
    assert read(cursor) == ([], cursor)
    there = frames[:5]
    found, cursor = read(cursor)
    assert found == [b"4", b"5"]
    there = frames
    assert read(cursor)[0] == [b"6", b"7"]
