"""Making `.env`: once, whole, for its owner only; what is there stays."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from officeops.errors import OfficeOpsError, UsageError
from officeops.settings.env import parse_env
from officeops.settings.generate import ensure_env
from officeops.settings.load import read_settings
from officeops.settings.model import SECRETS
from tests.support.site import PROJECT

EXAMPLE = (PROJECT / ".env.example").read_text()
GENERATED = [key.upper() for key in SECRETS]
ENSURE = "import sys, pathlib; from officeops.settings.generate import ensure_env; print(*ensure_env(pathlib.Path(sys.argv[1])))"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / ".env.example").write_text(EXAMPLE)
    return tmp_path


def values(folder: Path) -> dict[str, str]:
    entries, problems = parse_env(folder / ".env", (folder / ".env").read_bytes().decode())
    assert problems == []
    return {key: entry.value for key, entry in entries.items()}


def files(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_a_new_one_is_complete_and_for_its_owner_only(project: Path) -> None:
    before = os.umask(0)
    try:
        assert ensure_env(project) == GENERATED
    finally:
        os.umask(before)
    assert stat.S_IMODE((project / ".env").stat().st_mode) == 0o600
    assert files(project) == [".env", ".env.example"]
    settings, problems = read_settings(project, {})
    assert problems == []
    assert settings is not None


def test_a_new_one_differs_from_the_example_in_the_secrets_only(project: Path) -> None:
    ensure_env(project)
    pairs = zip(EXAMPLE.split("\n"), (project / ".env").read_text().split("\n"), strict=True)
    assert [before.rstrip("=") for before, after in pairs if before != after] == GENERATED


def test_no_two_secrets_are_the_same(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / ".env.example").write_text(EXAMPLE)
    ensure_env(project)
    ensure_env(other)
    generated = [values(folder)[key].removeprefix("admin:") for folder in (project, other) for key in GENERATED]
    assert len(set(generated)) == len(generated)


def test_overrides_are_for_a_new_file(project: Path) -> None:
    ensure_env(project, {"HTTP_PORT": "9090", "POSTGRES_PASSWORD": "'my own, long enough'", "OFFICEOPS_DEMO": "true"})
    ensure_env(project, {"HTTP_PORT": "9191"})
    found = values(project)
    assert (found["HTTP_PORT"], found["POSTGRES_PASSWORD"], found["OFFICEOPS_DEMO"]) == ("9090", "my own, long enough", "true")


def test_the_second_time_nothing_happens(project: Path) -> None:
    ensure_env(project)
    before = ((project / ".env").read_bytes(), (project / ".env").stat().st_mtime_ns, (project / ".env").stat().st_ino)
    assert ensure_env(project) == []
    assert before == ((project / ".env").read_bytes(), (project / ".env").stat().st_mtime_ns, (project / ".env").stat().st_ino)


def test_what_is_there_stays_to_the_byte(project: Path) -> None:
    mine = "\ufeff# mine\r\nexport JWT_SECRET_KEY='  # kept  '\r\nPOSTGRES_PASSWORD=#kept too\r\nexport PREFECT_AUTH_STRING=  # empty\r\nODD_KEY=x"
    (project / ".env").write_bytes(mine.encode())
    assert ensure_env(project) == ["PREFECT_AUTH_STRING", "PREFECT_POSTGRES_PASSWORD"]
    found = (project / ".env").read_bytes().decode()
    auth, own = values(project)["PREFECT_AUTH_STRING"], values(project)["PREFECT_POSTGRES_PASSWORD"]
    assert found == mine.replace("STRING=", f"STRING={auth}") + f"\r\nPREFECT_POSTGRES_PASSWORD={own}\r\n"


def test_a_secret_of_blanks_is_none(project: Path) -> None:
    (project / ".env").write_text("POSTGRES_PASSWORD='   '\n")
    assert ensure_env(project) == GENERATED


@pytest.mark.parametrize("content", [b"POSTGRES_PASSWORD='open\n", b"no key\n", b"\xff\xfe", b"A=1\nA=2\n"])
def test_a_file_with_mistakes_is_left_alone(project: Path, content: bytes) -> None:
    (project / ".env").write_bytes(content)
    assert ensure_env(project) == []
    assert (project / ".env").read_bytes() == content


def test_without_an_example_it_says_where_to_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"There is no .*/\.env\.example"):
        ensure_env(tmp_path)
    assert files(tmp_path) == []


def test_a_binary_example_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".env.example").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="no text in UTF-8"):
        ensure_env(tmp_path)
    assert files(tmp_path) == [".env.example"]


def test_a_link_stays_a_link_and_what_it_points_to_is_made_or_completed(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    real = tmp_path_factory.mktemp("secrets") / "office.env"
    (project / ".env").symlink_to(real)
    assert ensure_env(project) == GENERATED
    real.write_text("HTTP_PORT=9090\n")
    assert ensure_env(project) == GENERATED
    assert (project / ".env").is_symlink()
    assert values(project)["HTTP_PORT"] == "9090"
    assert (files(project), files(real.parent)) == ([".env", ".env.example"], ["office.env"])


def test_a_link_into_nowhere_is_an_error_that_names_the_place(project: Path) -> None:
    (project / ".env").symlink_to("/nowhere/at/all/.env")
    with pytest.raises(OfficeOpsError, match="/nowhere/at/all: No such file or directory"):
        ensure_env(project)


def test_a_folder_where_a_file_should_be_is_an_error(project: Path) -> None:
    (project / ".env").mkdir()
    with pytest.raises(OfficeOpsError, match="Is a directory"):
        ensure_env(project)


# Root writes wherever it likes: this drops its rights.
AS_NOBODY = """
import os, pathlib, sys
sys.path.insert(0, sys.argv[2])
from officeops.errors import OfficeOpsError
from officeops.settings.generate import ensure_env
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
try:
    ensure_env(pathlib.Path(sys.argv[1]))
except OfficeOpsError as error:
    print(error)
"""


def test_a_folder_that_may_only_be_read_is_an_error_and_nothing_changes(folder: Path) -> None:
    (folder / ".env.example").write_text(EXAMPLE)
    (folder / ".env.example").chmod(0o644)
    folder.chmod(0o555)
    said = subprocess.run([sys.executable, "-c", AS_NOBODY, str(folder), str(PROJECT)], check=True, capture_output=True, text=True).stdout
    assert said == f"{folder}/.env could not be made or completed: {folder}/.env.new: Permission denied. Nothing was changed.\n"
    assert files(folder) == [".env.example"]


@pytest.mark.parametrize("start", ["", "HTTP_PORT=9090\n"])
def test_of_many_at_once_one_makes_the_secrets_and_all_use_them(project: Path, start: str) -> None:
    if start:
        (project / ".env").write_text(start)

    def run(_number: int) -> str:
        return subprocess.run([sys.executable, "-c", ENSURE, str(project)], check=True, capture_output=True, text=True, cwd=PROJECT).stdout

    with ThreadPoolExecutor(6) as pool:
        said = list(pool.map(run, range(6)))
    assert sorted(said) == ["\n"] * 5 + [" ".join(GENERATED) + "\n"]
    assert files(project) == [".env", ".env.example"]
    assert set(GENERATED) <= values(project).keys()


# Killed just before each of its calls to the system, one after the other: the audit hook sees those that matter.
KILLED = """
import os, signal, sys, pathlib
sys.path.insert(0, sys.argv[3])
from officeops.settings.generate import ensure_env
events = {"open", "os.rename", "os.link", "os.remove", "fcntl.flock", "os.chown"}
left = int(sys.argv[2])
folder = sys.argv[1]
real_fsync = os.fsync

def at(_event=None, _arguments=None):
    global left
    if _event is None or _event in events:
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

def fsync(descriptor):
    at()
    real_fsync(descriptor)
    at()

os.fsync = fsync
sys.addaudithook(at)
ensure_env(pathlib.Path(folder))
os._exit(0)
"""


@pytest.mark.parametrize("start", ["", "HTTP_PORT=9090\n# mine\n"])
def test_killed_at_any_moment_it_leaves_the_old_or_the_new_and_the_next_run_ends_well(project: Path, start: str) -> None:
    for moment in range(100):
        (project / ".env").unlink(missing_ok=True)
        if start:
            (project / ".env").write_text(start)
        status = subprocess.run([sys.executable, "-c", KILLED, str(project), str(moment), str(PROJECT)], check=False).returncode
        left = (project / ".env").read_text() if (project / ".env").exists() else ""
        assert left == start or set(GENERATED) <= values(project).keys()
        if status == 0:
            break
        assert status == -signal.SIGKILL
        ensure_env(project)
        assert files(project) == [".env", ".env.example"]
        assert set(GENERATED) <= values(project).keys()
    assert 5 < moment < 99
