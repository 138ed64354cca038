"""The misbehaving releases are commits of their own, and misbehave as they are said to."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from officeops.process import Child, Command, CommandError, CommandTimeoutError, run, started
from officeops.stack.local.programs import caddy
from officeops.stack.port import DatabaseAddress
from tests.engine.home import compose_plugin
from tests.releases.applications import NEW_KEY, SLOW_START_S, VARIANTS, commit_variant
from tests.support.backend import alembic, database_environment, listens
from tests.support.paths import open_folder
from tests.support.ports import eventually, free_ports
from tests.support.postgres import Running
from tests.support.stack import git, make_repository

API = "/api/v1/conversations"  # answers 401: nobody is logged in


@pytest.fixture(scope="module")
def repository() -> Iterator[Path]:
    """With the application."""
    with open_folder() as folder:
        yield make_repository(folder)


@pytest.fixture
def tree(repository: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """The files of the variant that the test names."""
    folder = tmp_path / "tree"
    git(repository, "worktree", "add", "--quiet", "--detach", str(folder), commit_variant(repository, request.param))
    yield folder
    git(repository, "worktree", "remove", "--force", str(folder))


def variant(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("tree", [name], indirect=True)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_is_a_commit_of_its_own_that_changes_little(repository: Path, name: str) -> None:
    first, second = commit_variant(repository, name), commit_variant(repository, name)
    assert first != second
    assert git(repository, "rev-parse", f"{first}^") == git(repository, "rev-parse", "main") == git(repository, "rev-parse", "HEAD")
    assert git(repository, "status", "--porcelain") == ""
    changed = git(repository, "diff", "--name-only", "main", first).splitlines()
    assert 1 <= len(changed) <= 2
    for path in changed:
        if path.endswith(".py"):
            compile(git(repository, "show", f"{first}:{path}"), path, "exec")


def test_variants_can_stand_on_one_another(repository: Path) -> None:
    good = commit_variant(repository, "good")
    assert git(repository, "rev-parse", f"{commit_variant(repository, 'errors', base=good)}^") == good


@dataclass
class Backend:
    """A running backend of a variant."""

    child: Child
    port: int

    def status(self, path: str) -> int:
        """Of its answer, 0 when there is none."""
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}{path}", timeout=10, verify=False).status_code
        except httpx.HTTPError:
            return 0


def environment(address: DatabaseAddress, redis_port: int) -> dict[str, object]:
    return {
        **database_environment(address),
        "REDIS_URL": f"redis://127.0.0.1:{redis_port}/0",
        "OLLAMA_URL": "http://127.0.0.1:1",
        "JWT_SECRET_KEY": "a key that is long enough for tests",
    }


@contextmanager
def backend(tree: Path, postgres: Running, *, wait: bool = True) -> Iterator[Backend]:
    """Runs it, with a database without a schema and a real Redis server."""
    port, redis_port = free_ports(2)
    redis = Command((sys.executable, "-m", "officeops.stack.local.redis", "--port", str(redis_port)))
    command = Command(
        (sys.executable, "-m", "app", "--host", "127.0.0.1", "--port", str(port)),
        environment(postgres.address("postgres"), redis_port),  # type: ignore[arg-type]
        cwd=tree / "backend",
    )
    with started(redis, timeout=100, stdout=subprocess.DEVNULL), started(command, timeout=100, stdout=subprocess.DEVNULL) as child:
        eventually(lambda: listens(redis_port), what="Redis")
        if wait:
            eventually(lambda: listens(port), what="the backend's start")
        yield Backend(child, port)


@variant("good")
def test_a_good_one_is_ready(tree: Path, postgres: Running) -> None:
    with backend(tree, postgres) as found:
        assert [found.status(path) for path in ("/ready", "/health", "/version", API)] == [200, 200, 200, 401]
        found.child.kill()


@variant("never-ready")
def test_one_that_is_never_ready_lives_all_the_same(tree: Path, postgres: Running) -> None:
    with backend(tree, postgres) as found:
        assert [found.status(path) for path in ("/health", "/ready", "/ready")] == [200, 503, 503]


@variant("crashes")
def test_one_that_crashes_gives_one_good_answer(tree: Path, postgres: Running) -> None:
    with backend(tree, postgres) as found:
        assert found.status("/nowhere") == 404
        assert found.status("/health") == 200
        assert found.child.wait(ok=[3]) == 3


@variant("crashes-after-2s")
def test_one_that_crashes_after_two_seconds_does_so_by_itself(tree: Path, postgres: Running) -> None:
    with backend(tree, postgres, wait=False) as found:
        assert found.child.wait(ok=[3]) == 3


@variant("crashes-in-use")
def test_one_that_crashes_in_use_passes_the_checks_before(tree: Path, postgres: Running) -> None:
    with backend(tree, postgres) as found:
        assert [found.status(path) for path in ("/ready", "/health", "/version")] == [200] * 3
        assert found.status(API) == 0
        assert found.child.wait(ok=[3]) == 3


@variant("errors")
def test_one_with_errors_answers_every_tenth_request_of_its_api_with_500_and_counts_them(tree: Path, postgres: Running) -> None:
    with backend(tree, postgres) as found:
        assert [found.status("/ready") for _ in range(20)] == [200] * 20
        assert [found.status(API) for _ in range(20)] == [*[401] * 9, 500] * 2
        metrics = httpx.get(f"http://127.0.0.1:{found.port}/metrics").text
        assert 'http_requests_total{method="GET",route="unmatched",status="500"} 2.0' in metrics


@variant("leaks")
def test_one_that_leaks_grows_once_it_is_used_and_ends_at_its_limit(tree: Path, postgres: Running) -> None:
    with backend(tree, postgres) as found:
        before = memory(found.child.pid)
        assert found.status("/ready") == 200
        assert memory(found.child.pid) < before + 100
        assert found.status(API) == 401
        eventually(lambda: memory(found.child.pid) > before + 100, what="the leak")
        assert found.child.wait(ok=[4]) == 4


def memory(pid: int) -> int:
    """MiB resident."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 // 2**20


@variant("hangs-on-sigterm")
def test_one_that_hangs_goes_on_after_it_was_asked_to_stop(tree: Path, postgres: Running) -> None:
    with backend(tree, postgres) as found:
        assert found.status("/health") == 200
        found.child._popen.send_signal(signal.SIGTERM)
        time.sleep(1)
        assert found.status("/health") == 200
        found.child._popen.send_signal(signal.SIGKILL)


@variant("slow-start")
def test_one_with_a_slow_start_comes_up_in_the_end(tree: Path, postgres: Running) -> None:
    began = time.monotonic()
    with backend(tree, postgres) as found:
        assert time.monotonic() - began > SLOW_START_S
        assert found.status("/ready") == 200


@variant("new-key")
def test_one_with_a_new_key_does_not_start_without_it_and_names_it_in_its_example(tree: Path, postgres: Running) -> None:
    assert f"\n{NEW_KEY}=\n" in (tree / ".env.example").read_text()
    with backend(tree, postgres, wait=False) as found, pytest.raises(CommandError, match=NEW_KEY):
        found.child.wait()


def migrate(tree: Path, address: DatabaseAddress, timeout: float) -> None:
    """Upgrades a database that is at the application's own head."""
    alembic("upgrade", "head", address=address)
    command = Command((sys.executable, "-m", "alembic", "upgrade", "head"), environment(address, 1), cwd=tree / "backend")  # type: ignore[arg-type]
    run(command, timeout=timeout)


@variant("failing-migration")
def test_a_failing_migration_fails(tree: Path, postgres: Running, database: str) -> None:
    with pytest.raises(CommandError, match="nowhere"):
        migrate(tree, postgres.address(database), 60)


@variant("hanging-migration")
def test_a_hanging_migration_hangs(tree: Path, postgres: Running, database: str) -> None:
    with pytest.raises(CommandTimeoutError):
        migrate(tree, postgres.address(database), 5)


@variant("unsafe-migration")
def test_an_unsafe_migration_goes_through_and_takes_the_column_with_it(tree: Path, postgres: Running, database: str, run_sql) -> None:  # type: ignore[no-untyped-def]
    migrate(tree, postgres.address(database), 60)
    assert run_sql("SELECT 1 FROM information_schema.columns WHERE table_name = 'messages' AND column_name = 'model'") == []


@variant("broken-page")
def test_a_broken_page_is_none(tree: Path) -> None:
    assert "<html" not in (tree / "frontend" / "index.html").read_text()


@variant("bad-caddyfile")
def test_a_bad_caddyfile_is_found_by_caddy(tree: Path) -> None:
    with pytest.raises(CommandError, match="nonsense"):
        run(Command((str(caddy()), "validate", "--adapter", "caddyfile", "--config", str(tree / "caddy" / "Caddyfile"))), timeout=30)


@variant("bad-compose")
def test_a_bad_compose_file_is_found_by_compose(tree: Path) -> None:
    keys = ("POSTGRES_PASSWORD", "JWT_SECRET_KEY", "PREFECT_POSTGRES_PASSWORD", "PREFECT_AUTH_STRING")
    command = Command((str(compose_plugin()), "--file", str(tree / "docker-compose.yml"), "config", "--quiet"), dict.fromkeys(keys, "x"))
    with pytest.raises(CommandError, match="servcies"):
        run(command, timeout=30)
