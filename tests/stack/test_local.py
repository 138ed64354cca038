"""What only the embedded stack has: a supervisor, ports of this host, files, accounts."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import socket
import stat
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import jwt
import psutil
import pytest
from pydantic import SecretStr

from officeops.errors import OfficeOpsError
from officeops.postgres.connect import connected
from officeops.process import Command, run
from officeops.site import Site, open_site
from officeops.stack.local.programs import Places, program
from tests.support.paths import open_folder
from tests.support.ports import eventually
from tests.support.stack import ODD, PROJECT, RunningStack, commit_beside, git, make_stack_site, processes, readable_python, supervisor

pytestmark = pytest.mark.xdist_group("stack")
NewSite = Callable[..., Site]


@pytest.fixture(scope="session")
def shared(local: RunningStack) -> RunningStack:
    """What is tested here is the embedded stack's own."""
    return local


def services_by_program(site: Site) -> dict[str, int]:
    """How many processes run each service: the ones that nobody of the stack but supervisord has started."""
    ours = processes(site)
    daemons = [pid for pid, line in ours.items() if "supervisor.supervisord" in line]
    assert len(daemons) == 1
    direct = [child.pid for child in psutil.Process(daemons[0]).children()]
    known = {status.pid: status.name for status in supervisor(site).status()}
    orphans = [
        pid for pid in ours if pid not in daemons and not {pid, *(parent.pid for parent in psutil.Process(pid).parents())} & set(direct)
    ]
    return {known.get(pid, "unknown"): direct.count(pid) for pid in direct} | ({"orphans": len(orphans)} if orphans else {})


ONE_OF_EACH = dict.fromkeys(["postgres", "redis", "ollama", "backend-blue", "frontend-blue", "caddy"], 1)


def test_a_folder_with_a_long_and_odd_name_is_no_obstacle(running: RunningStack) -> None:
    assert len(os.fsencode(running.site.home)) > 200
    assert {one.health for one in running.stack.services()} == {"healthy"}


def test_after_a_killed_supervisor_nothing_of_it_goes_on_running(running: RunningStack) -> None:
    os.kill(daemon(running.site), 9)
    eventually(lambda: not processes(running.site), what="the end of what it had started")
    assert {one.state for one in running.stack.services()} == {"stopped"}


@pytest.mark.parametrize("waits", [True, False], ids=["later", "at once"])
def test_up_after_a_killed_supervisor_ends_with_one_of_each(running: RunningStack, waits: bool) -> None:
    os.kill(daemon(running.site), 9)
    if waits:
        eventually(lambda: not processes(running.site), what="the end of what it had started")
    running.stack.up(running.release)
    assert services_by_program(running.site) == ONE_OF_EACH
    assert {one.health for one in running.stack.services()} == {"healthy"}


def test_up_ends_with_one_of_each_when_the_supervisors_socket_was_cleared_away(running: RunningStack) -> None:
    shutil.rmtree(Path((running.site.home / "stack" / "runtime").read_text()))
    running.stack.up(running.release)
    assert services_by_program(running.site) == ONE_OF_EACH
    assert {one.health for one in running.stack.services()} == {"healthy"}


def test_a_supervisor_is_found_with_another_folder_for_temporary_files(running: RunningStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    assert {one.health for one in running.stack.services()} == {"healthy"}


def daemon(site: Site) -> int:
    return int((site.home / "stack" / "supervisord.pid").read_text())


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that this process holds."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder.getsockname()[1]


@pytest.mark.parametrize("key", ["POSTGRES_PORT", "REDIS_PORT", "BACKEND_PORT", "BACKEND_GREEN_PORT", "HTTP_PORT", "CADDY_ADMIN_PORT"])
def test_of_a_port_that_is_taken_the_holder_is_named_and_nothing_is_started(new_site: NewSite, taken: int, key: str) -> None:
    site = new_site(**{key: str(taken)})
    release = site.stack.build()
    with pytest.raises(OfficeOpsError) as caught:
        site.stack.up(release)
    me = psutil.Process()
    for part in (f"port {taken}", key, f"{me.name()} (process {me.pid}"):
        assert part in str(caught.value)
    assert processes(site) == {}


def test_a_port_that_another_stack_of_this_host_holds_is_taken(new_site: NewSite, running: RunningStack) -> None:
    site = new_site(HTTP_PORT=str(running.site.config.settings.http_port))
    with pytest.raises(OfficeOpsError, match=r"caddy cannot start: port .* is in use by caddy"):
        site.stack.up(site.stack.build())


def test_a_port_that_is_taken_while_the_stack_runs_leaves_the_running_services_alone(running: RunningStack, taken: int) -> None:
    before = running.stack.services()
    env = running.site.config.folder / ".env"
    text = env.read_text()
    old = f"FRONTEND_PORT={running.site.config.settings.frontend_port}\n"
    assert old in text
    try:
        env.write_text(text.replace(old, f"FRONTEND_PORT={taken}\n"))
        with pytest.raises(OfficeOpsError, match="frontend cannot start"):
            open_site(running.site.config.folder).stack.up(running.release)
    finally:
        env.write_text(text)
    assert running.stack.services() == before


def test_the_key_that_signs_logins_reaches_the_backend_untouched(running: RunningStack) -> None:
    running.stack.seed(running.release)
    token = jwt.encode({"sub": "1", "exp": datetime.now(UTC) + timedelta(hours=1)}, ODD["JWT_SECRET_KEY"], algorithm="HS256")
    assert running.get("/api/v1/rooms", Authorization=f"Bearer {token}").status_code == 200


def test_a_password_reaches_the_seed_untouched(running: RunningStack) -> None:
    running.stack.seed(running.release)
    url = f"http://127.0.0.1:{running.site.config.settings.http_port}/api/v1/auth/login"
    assert httpx.post(url, json={"name": "demo", "password": ODD["DEMO_PASSWORD"]}).status_code == 200


def test_the_databases_password_is_the_one_of_the_settings_and_is_asked_for(running: RunningStack) -> None:
    assert running.stack.database().password.get_secret_value() == ODD["POSTGRES_PASSWORD"]
    assert running.get("/ready").status_code == 200
    with pytest.raises(OfficeOpsError), connected(replace(running.stack.database(), password=SecretStr("another")), application="test"):
        pass


def secrets(site: Site) -> list[str]:
    settings = site.config.settings
    return [
        getattr(settings, name).get_secret_value()
        for name in ("postgres_password", "jwt_secret_key", "demo_password", "prefect_auth_string")
    ]


def test_no_secret_is_in_the_arguments_of_any_process(running: RunningStack) -> None:
    running.stack.restart("backend")
    lines = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    assert not [line for line in lines for secret in secrets(running.site) if secret in line]


def test_no_file_that_others_may_read_has_a_secret_and_no_log_at_all(running: RunningStack) -> None:
    running.stack.restart("backend")
    running.stack.seed(running.release)
    found = []
    for path in running.site.home.rglob("*"):
        if path.is_file() and not path.is_symlink() and not {"venvs", "releases"} & set(path.relative_to(running.site.home).parts[:1]):
            others = path.stat().st_mode & (stat.S_IROTH | stat.S_IRGRP)
            if others or path.suffix == ".log":
                text = path.read_bytes()
                found += [path for secret in secrets(running.site) if secret.encode() in text or secret.encode("unicode_escape") in text]
    assert found == []


def test_others_see_nothing_of_the_home(running: RunningStack) -> None:
    assert stat.S_IMODE(running.site.home.stat().st_mode) & 0o066 == 0


def test_a_home_that_is_not_ours_alone_keeps_its_mode(new_site: NewSite, folder: Path) -> None:
    site = new_site(OFFICEOPS_HOME=".")
    before = site.home.stat().st_mode
    site.stack.build()
    assert site.home.stat().st_mode == before


def test_an_export_that_was_killed_is_begun_anew(new_site: NewSite) -> None:
    site = new_site()
    sha = git(site.config.settings.officeops_app, "rev-parse", "HEAD")
    unfinished = site.home / "releases" / f"{sha}.new"
    (unfinished / "backend").mkdir(parents=True)
    (unfinished / "backend" / "half a file").touch()
    site.stack.build()
    assert sorted(path.name for path in (site.home / "releases").iterdir()) == [sha, f"{sha}.committed"]
    assert not (site.home / "releases" / sha / "backend" / "half a file").exists()
    assert (site.home / "releases" / sha / "backend" / "app" / "main.py").exists()


def test_a_release_that_is_there_is_used_as_it_is(new_site: NewSite) -> None:
    site = new_site()
    mark = site.home / "releases" / site.stack.build().sha / "backend" / "mark"
    mark.touch()
    assert site.stack.build() == site.stack.build()
    assert mark.exists()


def test_packages_whose_installation_was_killed_are_installed_anew(new_site: NewSite) -> None:
    site = new_site()
    shared = (site.home / "venvs").resolve()
    key = next(path.name for path in shared.iterdir())
    (site.home / "venvs").unlink()
    (site.home / "venvs" / key / "bin").mkdir(parents=True)
    (site.home / "venvs" / key / "bin" / "python").touch()
    site.stack.build()
    done = run(Command((str(site.home / "venvs" / key / "bin" / "python"), "-c", "import fastapi, psycopg")), timeout=60)
    assert done.status == 0


@pytest.mark.parametrize("filtered", [True, False])
def test_a_commit_that_would_be_written_outside_of_its_release_is_refused(
    new_site: NewSite, folder: Path, monkeypatch: pytest.MonkeyPatch, filtered: bool
) -> None:
    if not filtered:
        monkeypatch.delattr(tarfile, "data_filter", raising=False)  # as in Python before 3.11.4
    repository = folder / "bad"
    git(folder, "init", "--quiet", "--initial-branch=main", str(repository))
    (repository / "way out").symlink_to("/etc/passwd")
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "--message=bad")
    site = new_site(OFFICEOPS_APP=str(repository))
    with pytest.raises(OfficeOpsError, match=r"cannot be exported.*way out"):
        site.stack.build()
    assert not list((site.home / "releases").glob("*[!w]"))


def test_rotated_logs_are_read_as_one_oldest_first(new_site: NewSite) -> None:
    site = new_site()
    logs = site.home / "stack" / "logs"
    logs.mkdir(parents=True)
    for number, name in enumerate(("backend-blue.log.10", "backend-blue.log.2", "backend-blue.log.1", "backend-blue.log")):
        (logs / name).write_text(f"2026-01-0{number + 1} 00:00:00,500 line {number}\nits second line\n")
    lines = list(site.stack.logs("backend"))
    assert [line.text for line in lines if "second" not in line.text] == [f"2026-01-0{n + 1} 00:00:00,500 line {n}" for n in range(4)]
    assert [line.at.day for line in lines] == [1, 1, 2, 2, 3, 3, 4, 4]
    since = datetime(2026, 1, 3, tzinfo=UTC)
    assert [line.at.day for line in site.stack.logs("backend", since=since)] == [3, 3, 4, 4]
    assert [line.at.day for line in site.stack.logs("backend", since=since, tail=3)] == [3, 4, 4]


def test_the_times_of_lines_are_read_in_the_form_that_each_service_writes(new_site: NewSite) -> None:
    site = new_site()
    logs = site.home / "stack" / "logs"
    logs.mkdir(parents=True)
    at = datetime(2026, 1, 2, 3, 4, 5, 250000, tzinfo=UTC)
    text = [
        "no time yet",
        f'{{"level":"info","ts":{at.timestamp()},"msg":"m"}}',
        "2026-99-99 99:99:99 no time",
        "2026-01-02T03:04:06Z later",
    ]
    (logs / "caddy.log").write_text("\n".join(text) + "\n")
    assert [line.at for line in site.stack.logs("caddy")] == [at, at, at, at.replace(second=6, microsecond=0)]


def test_the_log_of_a_colour_that_was_retired_can_still_be_read(running: RunningStack) -> None:
    running.stack.launch(running.release, "green")
    eventually(lambda: all(one.health == "healthy" for one in running.stack.instances("green")), what="the second colour")
    running.stack.retire("green")
    assert any("GET /ready" in line.text for line in running.stack.logs("backend", colour="green"))


def test_of_a_port_of_the_second_colour_that_is_taken_the_holder_is_named_and_the_first_goes_on(running: RunningStack, taken: int) -> None:
    settings = running.site.config.settings.model_copy(update={"frontend_green_port": taken})
    config = replace(running.site.config, settings=settings)
    before = running.stack.services()
    with pytest.raises(OfficeOpsError, match=rf"frontend cannot start: port {taken} is in use.*FRONTEND_GREEN_PORT"):
        Site(config).stack.launch(running.release, "green")
    assert running.stack.services() == before
    assert [one.state for one in running.stack.instances("green")] == ["stopped", "stopped"]


def test_a_release_is_launched_into_a_running_stack_only(new_site: NewSite) -> None:
    site = new_site()
    with pytest.raises(OfficeOpsError, match="not running"):
        site.stack.launch(site.stack.build(), "green")
    assert processes(site) == {}


def test_launching_after_a_killed_launch_ends_with_one_of_each(running: RunningStack) -> None:
    """Killed after a program was described, before supervisor was told."""
    supervisor(running.site)._describe(
        program(running.site.config, "backend", Places("a" * 40, Path("/nowhere"), Path("/nowhere")), "green")
    )
    running.stack.launch(running.release, "green")
    eventually(lambda: all(one.health == "healthy" for one in running.stack.instances("green")), what="the second colour")
    assert services_by_program(running.site) == {**ONE_OF_EACH, "backend-green": 1, "frontend-green": 1}
    running.stack.retire("green")
    assert services_by_program(running.site) == ONE_OF_EACH


def test_restarting_a_service_leaves_its_other_colour_alone(running: RunningStack) -> None:
    running.stack.launch(running.release, "green")
    eventually(lambda: all(one.health == "healthy" for one in running.stack.instances("green")), what="the second colour")
    before = running.stack.instances("green")
    running.stack.restart("backend")
    assert running.stack.instances("green") == before
    running.stack.retire("green")


def test_a_changed_caddyfile_is_taken_by_the_next_up_and_an_unchanged_one_leaves_caddy_alone(
    running: RunningStack, repository: Path
) -> None:
    text = (repository / "caddy" / "Caddyfile").read_text().replace("X-Frame-Options DENY", "X-Frame-Options SAMEORIGIN")
    other = running.stack.build(commit_beside(repository, {"caddy/Caddyfile": text}))
    same = running.stack.build(commit_beside(repository, {"frontend/more.txt": "more"}))
    before = running.service("caddy")
    try:
        running.stack.up(same)
        assert running.service("caddy") == before
        running.stack.up(other)
        assert running.get("/").headers["x-frame-options"] == "SAMEORIGIN"
    finally:
        running.stack.up(running.release)
    assert running.get("/").headers["x-frame-options"] == "DENY"


def test_a_virtualenv_goes_with_the_last_release_that_has_it(new_site: NewSite) -> None:
    site = new_site()
    shared = (site.home / "venvs").resolve()
    (site.home / "venvs").unlink()
    (site.home / "venvs").mkdir()
    key = next(path.name for path in shared.iterdir())
    (site.home / "venvs" / key).mkdir()
    (site.home / "venvs" / key / ".complete").touch()  # enough to count as installed
    first = site.stack.build()
    second = site.stack.build(commit_beside(site.config.settings.officeops_app, {"frontend/one-more.txt": "x"}))
    site.stack.discard(first.sha)
    assert site.stack.artifact(second)["virtualenv"] == str(site.home / "venvs" / key)
    site.stack.discard(second.sha)
    assert list((site.home / "venvs").iterdir()) == list((site.home / "releases").iterdir()) == []


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has accounts to give away")


@needs_root
def test_as_root_in_a_folder_that_the_databases_account_cannot_enter_the_remedy_is_named(folder: Path, new_site: NewSite) -> None:
    site = new_site("private/office")
    (folder / "private").chmod(0o700)
    with pytest.raises(OfficeOpsError, match=f"may not enter {folder}/private.* OFFICEOPS_HOME"):
        site.stack.up(site.stack.build())
    assert processes(site) == {}


@pytest.fixture
def account() -> Iterator[str]:
    """A freshly made ordinary user with a home."""
    name = f"office-{uuid4().hex[:8]}"
    subprocess.run(["useradd", "--no-create-home", "--home-dir", f"/nowhere/{name}", name], check=True)
    yield name
    subprocess.run(["userdel", "--force", name], check=True, stderr=subprocess.DEVNULL)


@needs_root
def test_an_ordinary_user_starts_asks_and_stops_it(account: str, repository: Path) -> None:
    with open_folder() as folder:
        python = readable_python(folder)
        home = folder / "home"
        site = make_stack_site(home / "office", repository)
        shutil.copytree(repository, home / "application")
        shutil.chown(home, account, account)
        for path in home.rglob("*"):
            os.chown(path, *_ids(account), follow_symlinks=False)

        def officeops(*arguments: str) -> str:
            words = (str(python), "-m", "officeops_cli.main", *arguments, "--dir", str(home / "office"))
            environment = {"HOME": str(home), "OFFICEOPS_APP": str(home / "application")}
            return run(Command(words, environment, cwd=home, user=account), timeout=150).stdout.decode()

        try:
            officeops("up", "--no-control-plane")
            assert {psutil.Process(pid).username() for pid in processes(site)} == {account}
            found = json.loads(officeops("status", "--json"))
            assert {(one["state"], one["health"]) for one in found["services"]} == {("running", "healthy")}
        finally:
            officeops("down")
        assert processes(site) == {}


def _ids(account: str) -> tuple[int, int]:
    known = pwd.getpwnam(account)
    return known.pw_uid, known.pw_gid


def test_without_a_control_plane_ever_a_run_has_a_server_of_its_own(running: RunningStack) -> None:
    argv = (sys.executable, "-m", "officeops_cli.main", "backup", "--offline", "--json")
    done = run(Command(argv, {"PYTHONPATH": str(PROJECT)}, cwd=running.site.config.folder), timeout=180)
    assert json.loads(done.stdout)["verified"]
