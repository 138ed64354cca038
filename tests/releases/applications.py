"""Releases that misbehave: each a commit of the test's repository that changes as little of the application as it takes.

A deployment has to get through `good` and to end every other one with the release before it in charge.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from uuid import uuid4

from tests.support.stack import PROJECT, git

NEW_KEY = "WEEKLY_REPORT_TO"
SLOW_START_S = 5
Patch = Callable[[Path], None]
_MEASURED = "app.add_middleware(Measured)\n"


def commit_variant(repository: Path, name: str, base: str = "main") -> str:
    """The sha of a new commit on `base` that behaves as `name` of VARIANTS says. The repository's branches and its working tree stay as
    they are; each call makes a commit of its own."""
    patch = VARIANTS[name]
    with tempfile.TemporaryDirectory(prefix="officeops-variant-") as folder:
        tree = Path(folder) / "tree"
        git(repository, "worktree", "add", "--quiet", "--detach", str(tree), base)
        try:
            patch(tree)
            git(tree, "add", "--all")
            git(tree, "commit", "--quiet", f"--message={name} ({uuid4().hex[:8]})")
            sha = git(tree, "rev-parse", "HEAD")
        finally:
            git(repository, "worktree", "remove", "--force", str(tree))
    git(repository, "tag", f"variant-{name}-{sha[:10]}", sha)  # no tidying up of git's finds it unused
    return sha


def _replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1, f"{path.name} has {text.count(old)} times {old!r}: the application changed, so must this variant"
    path.write_text(text.replace(old, new))


def _append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


def _on_each_request(body: str, *, before: str = "") -> Patch:
    """Has the backend do `body` with each request of its API, which no check before the switch makes. before: at its start."""

    def patch(tree: Path) -> None:
        lines = "".join(f"    {line}\n" for line in body.splitlines())
        hook = (
            f'{before}\n@app.middleware("http")\nasync def misbehave(request, go_on):  # noqa\n{lines}    return await go_on(request)\n\n'
        )
        _replace(tree / "backend" / "app" / "main.py", _MEASURED, f"{hook}{_MEASURED}")

    return patch


def _at_start(code: str) -> Patch:
    """Has the backend do `code` before it listens."""
    return lambda tree: _replace(
        tree / "backend" / "app" / "__main__.py",
        "    from app.core.settings import settings\n",
        f"    from app.core.settings import settings\n\n{code}",
    )


def _migration(name: str, statement: str, back: str = "", *, contract: bool = False) -> Patch:
    """A revision after the last one. back: the statement that undoes it."""
    undo = f'op.execute("{back}")' if back else "pass"
    marked = "\ncontract = True" if contract else ""

    def patch(tree: Path) -> None:
        versions = tree / "backend" / "alembic" / "versions"
        last = max(path.name[:4] for path in versions.glob("[0-9]*.py"))
        revision = f"{int(last) + 1:04d}"
        (versions / f"{revision}_{name}.py").write_text(
            f'"""{name}."""\n\nfrom alembic import op\n\nrevision = "{revision}"\ndown_revision = "{last}"{marked}\n\n\n'
            f'def upgrade() -> None:\n    op.execute("{statement}")\n\n\ndef downgrade() -> None:\n    {undo}\n'
        )

    return patch


def _good(tree: Path) -> None:
    _append(tree / "backend" / "app" / "__init__.py", f"# {uuid4().hex}\n")
    _replace(tree / "frontend" / "index.html", "</html>", f"</html><!-- {uuid4().hex} -->")


def _light(tree: Path) -> None:
    program = (PROJECT / "tests" / "support" / "light_backend.py").read_text()
    (tree / "backend" / "app" / "__main__.py").write_text(f"{program}# {uuid4().hex}\n")


def _never_ready(tree: Path) -> None:
    _replace(tree / "backend" / "app" / "api" / "health.py", "503 if database or cache else 200", "503")


def _crashes(tree: Path) -> None:
    """Whatever starts it again, it comes as far as its first good answer."""
    crash = "            if status < 400:\n                __import__('os')._exit(3)\n"
    _replace(tree / "backend" / "app" / "core" / "metrics.py", "            whole = True\n", f"            whole = True\n{crash}")


def _new_key(tree: Path) -> None:
    example = tree / ".env.example"
    known = example if example.exists() else PROJECT / ".env.example"
    example.write_text(f"{known.read_text()}# [release] Who gets the weekly report / 週報の宛先\n{NEW_KEY}=\n")
    settings = tree / "backend" / "app" / "core" / "settings.py"
    _append(settings, f'weekly_report_to = os.environ["{NEW_KEY}"]\n')


def _broken_page(tree: Path) -> None:
    (tree / "frontend" / "index.html").write_text("Not what was meant.\n")


# Until it has its limit: Compose's, by which the kernel ends it, or one of its own, since the embedded stack has none.
_LEAK = """
import os, resource, threading, time  # noqa
leaking = threading.Event()

def leak():
    leaking.wait()
    taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + 2**30, taken + 2**30))
    kept = []
    try:
        while True:
            kept.append(b"x" * 2**24)
            time.sleep(0.02)
    except MemoryError:
        os._exit(4)

threading.Thread(target=leak, daemon=True).start()
"""
_IN_USE = 'if request.url.path.startswith("/api/"):\n    '

VARIANTS: Mapping[str, Patch] = {
    # Nothing is wrong with it; the backend and the page differ.
    "good": _good,
    # Good as well, and there in a moment: its backend is not the real one.
    "light": _light,
    # /ready answers 503 for ever.
    "never-ready": _never_ready,
    # Ends itself after each good answer, and is started again.
    "crashes": _crashes,
    # Ends itself two seconds after each start.
    "crashes-after-2s": _at_start("    import os\n    import threading\n\n    threading.Timer(2, os._exit, [3]).start()\n"),
    # Passes every check, and ends itself with the first request of its API.
    "crashes-in-use": _on_each_request(f"{_IN_USE}__import__('os')._exit(3)"),
    # Passes every check, and answers every tenth request of its API with 500.
    "errors": _on_each_request(
        f'{_IN_USE}if next(turns) % 10 == 0:\n        return JSONResponse({{"detail": "broken"}}, 500)',
        before="import itertools  # noqa\nturns = itertools.count(1)\n",
    ),
    # Passes every check, and takes all memory that it gets from the first request of its API on: a gigabyte within seconds.
    "leaks": _on_each_request(f"{_IN_USE}leaking.set()", before=_LEAK),
    # Does not stop when it is asked to.
    "hangs-on-sigterm": _at_start("    uvicorn.Server.handle_exit = lambda *_: None\n"),
    "expanding": _migration("expanding", "ALTER TABLE messages ADD COLUMN IF NOT EXISTS more text"),
    # What the older release does not do without, although it says so.
    "contracting": _migration("contracting", "CREATE TABLE newer (n int)", "DROP TABLE newer", contract=True),
    "failing-migration": _migration("failing", "ALTER TABLE nowhere ADD COLUMN more text"),
    "hanging-migration": _migration("hanging", "SELECT pg_sleep(3600)"),
    # Takes SLOW_START_S before it listens.
    "slow-start": _at_start(f"    time.sleep({SLOW_START_S})\n"),
    # Answers with status 200, and with something that is no page.
    "broken-page": _broken_page,
    # Needs a key of .env that its own .env.example has and this host's .env has not.
    "new-key": _new_key,
    # Drops a column that the release before it writes, and says of no contract.
    "unsafe-migration": _migration("unsafe", "ALTER TABLE messages DROP COLUMN model"),
    # Nothing is wrong with it, and the front door is to be configured in another way.
    "other-front-door": lambda tree: _replace(tree / "caddy" / "Caddyfile", "max_size 1MB", "max_size 2MB"),
    "bad-caddyfile": lambda tree: _append(tree / "caddy" / "Caddyfile", "\n:1 {\n\tnonsense\n}\n"),
    "bad-compose": lambda tree: _append(tree / "docker-compose.yml", "\nservcies: {}\n"),
}
