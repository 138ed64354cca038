"""A release beside another one on a real engine: an application of its own, small enough to be built in seconds."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from officeops.errors import OfficeOpsError, RefusedError, TransientError, UsageError
from officeops.logs.audit import audit, fix
from officeops.process import CommandError, CommandTimeoutError, run
from officeops.site import open_site
from officeops.stack.compose.engine import PROJECT, SERVICE
from officeops.stack.port import Deployed, LeftOver, Release
from tests.support.engine import Engine
from tests.support.ports import eventually
from tests.support.small import Office, small_office


@pytest.fixture(scope="module")
def running(engine: Engine) -> Iterator[Office]:
    """The office, up; gone afterwards."""
    with small_office(engine) as found:
        yield found


@pytest.fixture
def office(running: Office) -> Iterator[Office]:
    """The same, as it was afterwards."""
    yield running
    running.gate.open("blue")
    running.gate.shut("green")
    running.stack.record(Deployed(running.release.sha, running.release.built_at))
    running.stack.retire("green")


def well(office: Office, colour: str) -> Callable[[], bool]:
    """Whether every instance of a colour is healthy."""
    return lambda: [one.health for one in office.stack.instances(colour)] == ["healthy"]  # type: ignore[arg-type]


# --- up ----------------------------------------------------------------------------------------------------------------------


def test_on_a_fresh_stack_blue_runs_alone_and_has_the_open_gate(office: Office) -> None:
    assert office.there() == {"postgres", "web-blue", "caddy"}
    assert office.gate.open_colours() == ("blue",)
    assert [(one.name, one.colour, one.release) for one in office.stack.services()] == [
        ("postgres", None, None), ("web", "blue", office.release.sha), ("caddy", None, None),
    ]  # fmt: skip
    assert stat.S_IMODE(office.stack.gate_folder.stat().st_mode) == 0o755
    assert office.stack.gate_folder.stat().st_uid == os.geteuid()


def test_up_brings_the_deployed_colour_and_takes_the_other_away(office: Office) -> None:
    try:
        office.stack.record(Deployed(office.release.sha, office.release.built_at, "green", {"ollama_model": "of green"}))
        office.stack.up(replace(office.release, settings={"ollama_model": "of green"}))
        assert office.there() == {"postgres", "web-green", "caddy"}
        assert (office.gate.open_colours(), office.gate.serving("/")) == (("green",), office.release.sha)
        assert office.stack.deployed() == Deployed(office.release.sha, office.release.built_at, "green", {"ollama_model": "of green"})
        office.stack.restart("web")
        assert office.ask("green")["model"] == "of green"
    finally:
        office.stack.record(Deployed(office.release.sha, office.release.built_at))
        office.stack.up(office.release)
    assert office.there() == {"postgres", "web-blue", "caddy"}
    assert office.gate.serving("/") == office.release.sha


def test_of_a_service_that_became_a_rolled_one_the_container_of_before_goes(office: Office) -> None:
    api, (web,) = office.stack.engine.api, office.stack.engine.containers({PROJECT: office.stack.name, SERVICE: "web-blue"})
    made = api.create_container(web["Image"], ["python3", "/web.py", "serve"], labels={**web["Labels"], SERVICE: "web"})
    api.start(made["Id"])
    assert "web" in office.there()
    office.stack.up(office.release)
    assert office.there() == {"postgres", "web-blue", "caddy"}


# --- launch and retire -------------------------------------------------------------------------------------------------------


def test_a_release_launched_beside_another_runs_with_its_own_settings_and_gets_no_request(office: Office) -> None:
    before, release = office.stack.services(), office.commit()
    office.stack.launch(replace(release, settings={"ollama_model": "of the release"}), "green")
    eventually(well(office, "green"), what="green")
    assert office.ask("green") == {"release": release.sha, "model": "of the release"}
    assert office.ask("blue")["release"] == office.release.sha
    assert (office.stack.services(), office.gate.serving("/")) == (before, office.release.sha)
    (green,) = office.stack.instances("green")
    assert (green.name, green.colour, green.release) == ("web", "green", release.sha)


def test_the_gates_send_requests_to_the_other_colour_and_back(office: Office) -> None:
    release = office.commit()
    office.stack.launch(release, "green")
    eventually(well(office, "green"), what="green")
    office.gate.open("green")
    office.gate.shut("blue")
    assert office.gate.serving("/") == release.sha
    office.gate.open("blue")
    office.gate.shut("green")
    assert office.gate.serving("/") == office.release.sha


def test_launched_again_a_colour_is_a_new_container_of_the_new_release(office: Office) -> None:
    one, another = office.commit(), office.commit()
    office.stack.launch(one, "green")
    office.stack.launch(another, "green")
    eventually(well(office, "green"), what="green")
    assert office.ask("green")["release"] == another.sha
    (green,) = office.stack.engine.containers({PROJECT: office.stack.name, SERVICE: "web-green"})
    assert green["Names"] == [f"/{office.stack.name}-web-green-1"]


def test_a_colour_that_was_retired_is_stopped_and_has_no_container_or_endpoint(office: Office) -> None:
    office.stack.launch(office.release, "green")
    for _ in range(2):
        office.stack.retire("green")
    assert [(one.name, one.state, one.colour) for one in office.stack.instances("green")] == [("web", "stopped", "green")]
    assert "web-green" not in office.there()
    with pytest.raises(OfficeOpsError, match="web does not run in green"):
        office.stack.endpoint("web", "green")
    with pytest.raises(UsageError, match="nobody"):
        office.stack.endpoint("nobody", "blue")


def test_a_release_that_is_not_built_is_not_launched_and_what_ran_in_that_colour_stays(office: Office) -> None:
    office.stack.launch(office.release, "green")
    gone = office.commit()
    office.stack.engine.remove_image(f"{office.stack.name}-web:{gone.sha}")
    with pytest.raises(OfficeOpsError, match="no image of web"):
        office.stack.launch(gone, "green")
    assert [one.release for one in office.stack.instances("green")] == [office.release.sha]


def test_stop_stops_both_colours_and_restart_leaves_the_other_one_alone(office: Office) -> None:
    office.stack.launch(office.release, "green")
    eventually(well(office, "green"), what="green")
    (before,) = office.stack.instances("green")
    office.stack.restart("web")
    assert office.stack.instances("green") == [before]
    office.stack.stop("web")
    try:
        assert [one.state for colour in ("blue", "green") for one in office.stack.instances(colour)] == ["stopped"] * 2
    finally:
        office.stack.start("web")
    assert [one.state for one in office.stack.instances("green")] == ["stopped"]


def test_logs_are_those_of_the_colour_that_is_asked_for_up_to_the_time_that_is_given(office: Office) -> None:
    office.stack.launch(office.release, "green")
    eventually(well(office, "green"), what="green")
    office.ask("green", "/only-green-was-asked")

    def said(**options: object) -> list[str]:
        return [line.text for line in office.stack.logs("web", **options) if "only-green" in line.text]  # type: ignore[arg-type]

    eventually(lambda: len(said(colour="green")) == 1, what="the line")
    assert said() == said(colour="blue") == []
    lines = list(office.stack.logs("web", colour="green"))
    middle = lines[len(lines) // 2].at
    before = [line for line in lines if line.at <= middle]
    assert list(office.stack.logs("web", colour="green", until=middle)) == before
    assert list(office.stack.logs("web", colour="green", until=middle, tail=1)) == before[-1:]


# --- the front door ----------------------------------------------------------------------------------------------------------


def test_the_front_door_answers_where_it_is_asked_whatever_name_it_has(office: Office) -> None:
    assert office.stack.front_door().endswith(":8081")
    assert httpx.get(office.stack.front_door()).json()["release"] == office.release.sha


def test_requests_on_their_way_are_counted_by_colour(office: Office) -> None:
    assert (office.stack.in_flight("blue"), office.stack.in_flight("green")) == (0, 0)
    asked = threading.Thread(target=lambda: httpx.get(f"{office.stack.front_door()}/?wait=3", timeout=30))
    asked.start()
    eventually(lambda: office.stack.in_flight("blue") == 1, what="the count")
    assert office.stack.in_flight("green") == 0
    asked.join()
    assert office.gate.drained("blue", timeout=10) >= 0


def test_a_front_door_that_is_stopped_tells_no_count(office: Office) -> None:
    office.stack.stop("caddy")
    try:
        with pytest.raises(TransientError, match="not running"):
            office.stack.in_flight("blue")
        with pytest.raises(OfficeOpsError, match="caddy is not running"):
            office.stack.front_door()
    finally:
        office.stack.start("caddy")


# --- what is built -----------------------------------------------------------------------------------------------------------


def test_what_is_built_is_found_until_it_is_discarded(office: Office) -> None:
    release = office.commit()
    assert office.stack.built()[0] == release
    assert office.release in office.stack.built()
    (image,) = office.stack.artifact(release).values()
    assert image.startswith("sha256:")
    for _ in range(2):
        office.stack.discard(release.sha)
    assert release not in office.stack.built()
    assert not office.stack.engine.has_image(image)
    assert not office.stack.folder(release).exists()
    assert office.stack.build(release.sha).sha == release.sha


def test_a_release_without_its_image_is_not_a_built_one(office: Office) -> None:
    release = office.commit()
    office.stack.engine.remove_image(f"{office.stack.name}-web:{release.sha}")
    assert release not in office.stack.built()
    with pytest.raises(OfficeOpsError, match="no image of web"):
        office.stack.artifact(release)


def test_a_release_that_is_deployed_or_has_a_container_is_not_discarded(office: Office) -> None:
    release = office.commit()
    office.stack.launch(release, "green")
    with pytest.raises(RefusedError, match="web-green"):
        office.stack.discard(release.sha)
    with pytest.raises(RefusedError, match="deployed"):
        office.stack.discard(office.release.sha)
    assert [one in office.stack.built() for one in (office.release, release)] == [True, True]


# --- validate and migrate ----------------------------------------------------------------------------------------------------


def replaced(file: str, old: str, new: str) -> Callable[[Path], object]:
    """A change of one of the application's files."""
    return lambda repository: (repository / file).write_text((repository / file).read_text().replace(old, new))


def test_nothing_is_wrong_with_a_release_whose_files_are_understood(office: Office) -> None:
    assert office.stack.validate(office.release) == []


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (replaced("caddy/Caddyfile", "reverse_proxy", "reverse_prox"), "reverse_prox"),
        (lambda repository: (repository / "caddy" / "Caddyfile").unlink(), "no caddy/Caddyfile"),
    ],
    ids=["an unknown directive", "no file"],
)
def test_what_is_wrong_with_a_releases_caddyfile_is_told(office: Office, change: Callable[[Path], object], named: str) -> None:
    (problem,) = office.stack.validate(office.commit(change))
    assert named in problem


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (replaced("docker-compose.yml", "stop_grace_period", "stop_grace"), "stop_grace"),
        (replaced("docker-compose.yml", "web-green", "web-grey"), "web-green"),
    ],
    ids=["an unknown key", "no green"],
)
def test_what_is_wrong_with_a_releases_compose_file_is_told(office: Office, change: Callable[[Path], object], named: str) -> None:
    with pytest.raises(OfficeOpsError):
        office.commit(change)
    folders = [path for path in office.stack.folder(office.release).parent.iterdir() if path.is_dir()]
    newest = max(folders, key=lambda path: path.stat().st_mtime)
    (problem,) = office.stack.validate(Release(newest.name, office.release.built_at))
    assert named in problem


def test_a_migration_runs_on_the_releases_image_with_its_settings_and_other_arguments(office: Office) -> None:
    release = replace(office.commit(), settings={"ollama_model": "of the release"})
    done = run(office.stack.migration(release, ["upgrade", "0002", "--sql"]), timeout=60)
    assert done.stdout.decode().split(maxsplit=4) == ["upgrade", "0002", "--sql", release.sha, "of the release\n"]
    assert office.there(one_offs=True) == set()


def test_a_migration_that_fails_is_told_in_its_own_words(office: Office) -> None:
    with pytest.raises(CommandError, match="IndexError"):
        run(office.stack.migration(office.release, []), timeout=60)


def test_a_migration_whose_time_is_up_is_ended_and_so_is_its_container(office: Office) -> None:
    with pytest.raises(CommandTimeoutError):
        run(office.stack.migration(office.release, ["upgrade", "forever"]), timeout=5)
    eventually(lambda: office.there(one_offs=True) == set(), what="the container's end")


# --- log options -------------------------------------------------------------------------------------------------------------


def test_containers_with_old_log_options_are_named_and_made_anew_without_an_interruption(office: Office) -> None:
    override = office.repository / "docker-compose.override.yml"
    options = '{driver: json-file, options: {max-size: 50m, max-file: "9"}}'
    override.write_text(f"services: {{web-blue: {{logging: {options}}}, caddy: {{logging: {options}}}}}")
    stack = open_site(office.site.config.folder).stack  # what a file says is asked once
    stack.launch(office.release, "blue")
    stack.recreate("caddy")
    eventually(well(office, "blue"), what="blue")
    override.unlink()

    site = open_site(office.site.config.folder)
    before = {one.service: one for one in audit(site)}
    assert {name: one.verdict for name, one in before.items()} == {"postgres": "ok", "web": "outdated", "caddy": "outdated"}
    assert "50 MiB, not at most 10 MiB" in before["web"].why
    answers, stop = [], threading.Event()

    fix(site, ["caddy"])
    door = office.stack.front_door()

    def ask() -> None:
        while not stop.is_set():
            answers.append(httpx.get(door, timeout=30, verify=False).status_code)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        done = fix(site, ["web"])
    finally:
        stop.set()
        asking.join()
    try:
        assert done == ["web: made anew in green, without an interruption"]
        assert {one.verdict for one in audit(site)} == {"ok"}
        assert len(audit(site)) == 3
        assert answers
        assert set(answers) == {200}
        # What the containers that are gone had printed was collected before they went.
        assert {gap.service for gap in site.ledger.log_gaps()} == set()
        assert {part.service for part in site.ledger.log_parts()} >= {"caddy", "postgres"}
    finally:
        stack = open_site(office.site.config.folder).stack
        stack.launch(office.release, "blue")
        eventually(well(office, "blue"), what="blue")


# --- what is left over -------------------------------------------------------------------------------------------------------


def test_of_what_the_builder_keeps_only_our_own_goes_and_only_when_it_is_old(office: Office) -> None:
    mark = f": {uuid4().hex}"
    release = office.commit(
        replaced("docker-compose.yml", "        COPY web.py /web.py", f"        COPY web.py /web.py\n        RUN {mark}")
    )

    def kept(now: datetime) -> dict[str, LeftOver]:
        return {one.name: one for one in office.stack.left_overs({office.release.sha, release.sha}, now) if one.kind == "build cache"}

    def known() -> dict[str, str]:
        return {one["ID"]: str(one["Description"]) for one in office.stack.engine.api.df()["BuildCache"]}

    (ours,) = (name for name, description in known().items() if mark in description)
    others = known().keys() - kept(datetime.now(UTC)).keys()
    assert others
    assert kept(datetime.now(UTC))[ours].stays
    old = kept(datetime.now(UTC) + timedelta(days=8))
    assert (old[ours].stays, [name for name, one in old.items() if not one.stays]) == (False, [ours])
    office.stack.remove(old[ours])
    assert ours not in known()
    assert others <= known().keys()
    office.stack.discard(release.sha)


def test_names_of_images_below_are_what_they_were_again(office: Office) -> None:
    engine, name = office.stack.engine, f"officeops-below/{uuid4().hex[:8]}:1"
    one, another = (engine.image(office.stack._config.settings.model_dump()[key]) for key in ("python_image", "caddy_image"))
    assert one is not None
    assert another is not None
    engine.api.tag(one, *name.split(":"))
    try:
        engine.api.tag(another, *name.split(":"))
        office.stack.restore_bases({name: one, "not/here:1": "", "gone/since:1": "sha256:" + "0" * 64})
        assert engine.image(name) == one
    finally:
        engine.remove_image(name)
