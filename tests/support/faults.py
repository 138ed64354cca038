"""What can go wrong, done to a running stack of either kind. Each is a context: broken inside, undone behind it where nobody mended it."""

from __future__ import annotations

import io
import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import docker
import httpx
import psutil
import psycopg
import redis
from psycopg.sql import SQL, Identifier

from benchmarks.load import log_in
from officeops.postgres.connect import connected
from officeops.process import run, started
from officeops.releases.proof import prove
from tests.support.disks import tiny_disk
from tests.support.stack import RunningStack, commit_beside

BALLOON = 1_200_000_000  # bytes, where a whole host's memory is watched
REQUESTS, SLOW, SLOW_S = 40, 6, 7.0


def on_compose(running: RunningStack) -> bool:
    """Which of the two it is: faults are of the world, and that differs."""
    return running.site.config.settings.officeops_stack == "compose"


@contextmanager
def stopped(running: RunningStack, service: str) -> Iterator[None]:
    """A process that ended and is not started again."""
    running.stack.stop(service)
    yield


@contextmanager
def frozen(running: RunningStack, service: str) -> Iterator[None]:
    """SIGSTOP to every process of it: it is there, and does nothing."""
    first = psutil.Process(running.pid(service))
    pids = [first.pid, *(one.pid for one in first.children(recursive=True))]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def with_a_port(running: RunningStack) -> str:
    """A service that listens on a port of this host."""
    return "caddy" if on_compose(running) else "redis"


@contextmanager
def port_blocked(running: RunningStack) -> Iterator[None]:
    """It ended, and somebody else took its port."""
    service, settings = with_a_port(running), running.site.config.settings
    running.stack.stop(service)
    try:
        with socket.socket() as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(
                ("0.0.0.0" if on_compose(running) else "127.0.0.1", settings.http_port if on_compose(running) else settings.redis_port)
            )
            taken.listen()
            yield
    finally:
        running.stack.start(service)


@contextmanager
def wrong_password(running: RunningStack) -> Iterator[None]:
    """Somebody changed the database's."""
    address = running.stack.database()
    with connected(address, application="test") as connection:
        connection.execute(SQL("ALTER ROLE {} PASSWORD 'another'").format(Identifier(address.user)))
    try:
        yield
    finally:
        known = {"host": address.host, "port": address.port, "user": address.user, "dbname": address.database}
        with psycopg.connect(**known, password="another") as connection:  # type: ignore[arg-type]
            connection.execute(SQL("ALTER ROLE {} PASSWORD {}").format(Identifier(address.user), address.password.get_secret_value()))


@contextmanager
def connections_exhausted(running: RunningStack) -> Iterator[None]:
    """Every connection that others may have idles in a transaction."""
    address = running.stack.database()
    with connected(address, application="test") as connection:
        connection.execute("CREATE ROLE somebody LOGIN PASSWORD 'somebody'")
    held: list[psycopg.Connection[object]] = []
    known = {"host": address.host, "port": address.port, "dbname": address.database}
    try:
        with suppress(psycopg.OperationalError):
            while len(held) < 120:
                one = psycopg.connect(**known, user="somebody", password="somebody")  # type: ignore[arg-type]
                one.execute("SELECT 1")
                held.append(one)
        yield
    finally:
        for one in held:
            one.close()
        with connected(address, application="test") as connection:
            connection.execute("DROP ROLE somebody")


@contextmanager
def asset_gone(running: RunningStack) -> Iterator[None]:
    """A file of the page is not in what the release was built to."""
    if not on_compose(running):
        (running.stack.folder(running.release) / "frontend" / "app.js").unlink()
        yield
        return
    deployed = running.stack.deployed()
    assert deployed is not None
    with closing(docker.from_env()) as client:
        tag = f"{running.site.name}-frontend:{running.release.sha}"
        text = f"FROM {tag}\nUSER root\nRUN rm /srv/app.js\nUSER 10002:10002\n"
        client.images.build(fileobj=io.BytesIO(text.encode()), tag=tag, rm=True)
    running.stack.launch(running.release, deployed.colour)
    prove(running.site, deployed.colour)
    yield


@contextmanager
def model_gone(running: RunningStack) -> Iterator[None]:
    """Ollama has it no more."""
    if on_compose(running):
        run(running.stack.exec("ollama", ["sh", "-c", 'rm -r "${OLLAMA_MODELS:-$HOME/.ollama/models}/manifests"']), timeout=30)
    else:
        host, port = running.stack.address("ollama")
        model = {"model": running.site.config.settings.ollama_model}
        httpx.request("DELETE", f"http://{host}:{port}/api/delete", json=model).raise_for_status()
    yield


@contextmanager
def disk_filled(place: Path, by: str = "somebody's") -> Iterator[Path]:
    """A small file system at `place`, full of one file."""
    with tiny_disk(place, "8m"):
        with suppress(OSError), (place / by).open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 65536)
        yield place


@contextmanager
def memory_ballooned(running: RunningStack) -> Iterator[None]:
    """Redis takes much more than it should: up to its container's limit, or much of the host's."""
    if not on_compose(running):
        host, port = running.stack.address("redis")
        with redis.Redis(host=host, port=port) as client:
            for number in range(BALLOON // 100_000_000):
                client.set(f"balloon {number}", b"x" * 100_000_000)
        yield
        return
    # tail keeps what it may have to print.
    hog = running.stack.exec("redis", ["bash", "-c", "(head -c 225M /dev/zero; sleep 600) | tail -c 225M > /dev/null"])
    with started(hog, timeout=600):
        time.sleep(2)
        yield


@contextmanager
def backend_ballooned(running: RunningStack) -> Iterator[None]:
    """On Compose: something in the backend's container takes nine tenths of what it may have."""
    (limit,) = (one.limit for one in running.stack.usage() if one.service == "backend")
    assert limit is not None
    hog = running.stack.exec("backend", ["python", "-c", f"import time; kept = b'x' * {int(limit * 0.9)}; time.sleep(600)"])
    with started(hog, timeout=600):
        time.sleep(2)
        yield


@contextmanager
def answers_slow(running: RunningStack) -> Iterator[None]:
    """People wait for a table that somebody has for himself: requests of the last minutes, of which some took SLOW_S seconds."""
    with api(running) as client, ThreadPoolExecutor(SLOW) as pool:
        with connected(running.stack.database(), application="somebody", autocommit=False) as connection:
            connection.execute("LOCK TABLE public.rooms IN ACCESS EXCLUSIVE MODE")
            waiting = [pool.submit(client.get, "/api/v1/rooms") for _ in range(SLOW)]
            time.sleep(SLOW_S)
            connection.rollback()
        assert all(one.result().status_code == 200 for one in waiting)
        for _ in range(REQUESTS - SLOW):
            client.get("/health")
    yield


@contextmanager
def some_fail(running: RunningStack) -> Iterator[None]:
    """One request in ten is answered with 500."""
    with api(running) as client, connected(running.stack.database(), application="test") as connection:
        connection.execute("ALTER TABLE public.rooms RENAME TO rooms_elsewhere")
        try:
            for number in range(REQUESTS):
                answer = client.get("/health" if number % 10 else "/api/v1/rooms")
                assert answer.status_code == (200 if number % 10 else 500)
        finally:
            connection.execute("ALTER TABLE public.rooms_elsewhere RENAME TO rooms")
    yield


@contextmanager
def api(running: RunningStack) -> Iterator[httpx.Client]:
    """The application as a user who has logged in sees it. The demonstration's data are made where they are missing."""
    try:
        token = log_in(running.site)
    except httpx.HTTPStatusError:
        running.stack.seed(running.release)
        token = log_in(running.site)
    door = f"http://127.0.0.1:{running.site.config.settings.http_port}"
    with httpx.Client(base_url=door, headers={"Authorization": f"Bearer {token}"}, timeout=30) as client:
        yield client


def release_with_a_failing_migration(running: RunningStack) -> str:
    """The sha of a release whose first migration goes through, and whose second does not."""
    head = sorted((Path(running.site.config.settings.officeops_app) / "backend" / "alembic" / "versions").glob("0*.py"))[-1].name[:4]
    good = _revision("0900", head, "ALTER TABLE users ADD COLUMN mail text", "ALTER TABLE users DROP COLUMN mail")
    bad = _revision("0901", "0900", "ALTER TABLE nowhere ADD COLUMN mail text", "SELECT 1")
    folder = "backend/alembic/versions"
    return commit_beside(Path(running.site.config.settings.officeops_app), {f"{folder}/0900_mail.py": good, f"{folder}/0901_bad.py": bad})


def _revision(name: str, after: str, up: str, down: str) -> str:
    return (
        f'"""What {name} does."""\nfrom alembic import op\nrevision = {name!r}\ndown_revision = {after!r}\n'
        f"def upgrade():\n    op.execute({up!r})\ndef downgrade():\n    op.execute({down!r})\n"
    )
