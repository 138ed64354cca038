"""The tests' own engine comes, goes and comes back."""

from __future__ import annotations

import io
import os
import sys
import tarfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from officeops.process import Command, run
from tests.engine.daemon import Daemon
from tests.engine.home import EngineError, connect, do
from tests.engine.network import network_of
from tests.support.engine import Engine
from tests.support.paths import open_folder
from tests.support.ports import eventually

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start an engine")
PROJECT = Path(__file__).resolve().parent.parent.parent


def engine_command(verb: str, home: Path, **env: str) -> tuple[int, str]:
    """python -m tests.engine, with its own folder; its exit status, and all that it says."""
    command = Command((sys.executable, "-m", "tests.engine", verb), {"OFFICEOPS_ENGINE_HOME": str(home), **env}, cwd=PROJECT)
    done = run(command, timeout=60, ok=(0, 1))
    return done.status, done.stdout.decode() + done.stderr


@pytest.fixture
def daemon(engine: Engine) -> Iterator[Daemon]:
    """An engine that does not run, in a folder of its own; at the end nothing is left of it."""
    with open_folder() as folder:
        found = Daemon(folder)
        yield found
        found.stop()


def import_image(host: str) -> None:
    """An image with one file in it."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("empty"))
    with closing(connect(host)) as client:
        client.api.import_image_from_data(content.getvalue(), "kept", "1")


def things(host: str) -> tuple[list[str], int, int]:
    """The images, and how many containers and volumes."""
    with closing(connect(host)) as client:
        tags = [tag for image in client.images.list() for tag in image.tags]
        return tags, len(client.containers.list(all=True)), len(client.volumes.list())


@needs_root
def test_an_engine_that_was_stopped_has_its_images_and_nothing_else_and_one_that_was_killed_comes_back(daemon: Daemon) -> None:
    daemon.start()
    import_image(daemon.host)
    with closing(connect(daemon.host)) as client:
        client.containers.create("kept:1", "nothing", volumes=["/data"])
        client.volumes.create("data")
    assert things(daemon.host) == (["kept:1"], 1, 2)
    assert daemon.stop()
    daemon.start()
    assert things(daemon.host) == (["kept:1"], 0, 0)

    process = daemon.process()
    assert process is not None
    process.kill()
    eventually(lambda: daemon.process() is None, what="the end of a killed engine")
    daemon.start()
    assert things(daemon.host) == (["kept:1"], 0, 0)


@needs_root
def test_a_stopped_engine_leaves_no_process_no_interface_no_rule_and_no_mount(daemon: Daemon) -> None:
    daemon.start()
    network = network_of(daemon.folder)
    assert network.bridge in do("ip", "-brief", "link")
    assert daemon.stop()
    assert not daemon.stop()
    assert [found for found in psutil.process_iter(["cmdline"]) if str(daemon.folder) in " ".join(found.info["cmdline"] or [])] == []
    assert network.bridge not in do("ip", "-brief", "link") + do("iptables", "-S") + do("iptables", "-t", "nat", "-S")
    assert str(daemon.folder) not in Path("/proc/self/mountinfo").read_text()


# Run where there is no network but its own, or a mistake would take another engine's interface away.
STARTED_TWICE = """
import subprocess, sys
from pathlib import Path
from tests.engine.daemon import Daemon

subprocess.run("ip link set lo up && ip link add docker0 type bridge && ip address add 172.17.0.1/16 dev docker0", shell=True, check=True)
daemon = Daemon(Path(sys.argv[1]))
for _ in range(2):
    daemon.start()
    daemon.stop()
print(subprocess.run(["ip", "-brief", "link"], capture_output=True, text=True, check=True).stdout)
"""


@needs_root
def test_another_engines_interface_stays_however_often_ours_is_started(daemon: Daemon) -> None:
    alone = ("unshare", "--net", sys.executable, "-c", STARTED_TWICE, str(daemon.folder))
    said = run(Command(alone, cwd=PROJECT), timeout=60).stdout.decode()
    assert sorted(line.split()[0] for line in said.splitlines() if line) == ["docker0", "lo"]


@needs_root
def test_a_process_id_that_is_somebody_elses_by_now_is_not_believed(daemon: Daemon) -> None:
    daemon.pidfile.write_text(str(os.getpid()))
    assert daemon.process() is None
    assert not daemon.stop()
    daemon.start()
    assert daemon.process() is not None


def test_up_on_an_engine_that_has_everything_builds_nothing(engine: Engine, folder: Path) -> None:
    status, said = engine_command("up", folder, DOCKER_HOST=engine.docker_host)
    assert (status, said.splitlines()[-1].split(";")[:2]) == (0, [f"Using the engine at {engine.docker_host}", " images built: 0"])


def test_without_an_engine_status_says_how_to_get_one_and_images_does_nothing(folder: Path) -> None:
    nowhere = {"DOCKER_HOST": f"unix://{folder}/none.sock"}
    status, said = engine_command("status", folder, **nowhere)
    assert (status, "`python -m tests.engine up` starts one" in said) == (1, True)
    assert engine_command("images", folder, **nowhere) == (0, "")
    assert engine_command("down", folder, **nowhere) == (0, "The tests' engine was not running.\n")


def test_a_folder_too_long_for_a_socket_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="OFFICEOPS_ENGINE_HOME"):
        Daemon(tmp_path / ("long" * 30)).start()
