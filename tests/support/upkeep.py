"""A rebuild's verbs in the flow's order without a Prefect server, and updates that a test publishes itself: nothing is fetched for them."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

from officeops.releases import preflight
from officeops.releases.rollout import Rollout
from officeops.releases.schema import Schema
from officeops.site import Site, open_site
from officeops.stack.compose.engine import Engine
from officeops.stack.local.releases import pins
from officeops.upkeep.rebuild import Rebuild, Rebuilt
from tests.support.releases import quick
from tests.support.site import PROJECT
from tests.support.stack import commit_beside

TRIAL = "officeops-trial"  # the package that has updates
_STATUS = "/var/lib/dpkg/status"


def rebuild(site: Site, *, dry_run: bool = False) -> Rebuilt:
    """As the flow does."""
    with site.locked("rebuild of a test", wait_s=60), Rebuild.begin(site) as work:
        work.build()
        changes, outcome = work.compare(), None
        work.scan()
        if changes.all and not dry_run:
            plan = preflight.plan(site, work.release, kind="rebuild")
            with Rollout.begin(site, plan.new, kind="rebuild", why="a test") as rollout:
                rollout.expand(Schema(site).plan(plan.new))
                rollout.launch()
                rollout.prove()
                rollout.switch()
                rollout.bake()
                rollout.drain()
                rollout.retire()
                outcome = rollout.finish()
        return work.finish(outcome, dry_run=dry_run)


# Updates of the embedded stack: a package of our own in a folder that uv looks into.


def wheel(folder: Path, version: str) -> Path:
    """A version of the package, published."""
    path, info = folder / f"officeops_trial-{version}-py3-none-any.whl", f"officeops_trial-{version}.dist-info"
    files = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {TRIAL}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def publish_wheel(folder: Path, version: str | None) -> None:
    """A further version; None: there is the first one only."""
    for path in folder.glob("*.whl"):
        if "-1-" not in path.name:
            path.unlink()
    if version is not None:
        wheel(folder, version)


def commit_with_trial(repository: Path, folder: Path) -> str:
    """The sha of a release that has version 1 of the package and takes any; every other package is pinned in its ranges, too."""
    lock = (repository / "backend" / "requirements.lock").read_text()
    digest = hashlib.sha256(wheel(folder, "1").read_bytes()).hexdigest()
    ranges = "".join(f"{name}=={version}\n" for name, version in pins(lock).items()) + f"{TRIAL}>=1\n"
    files = {
        "backend/requirements.lock": f"{lock}{TRIAL}==1 \\\n    --hash=sha256:{digest}\n",
        "backend/requirements.in": ranges,
    }
    return commit_beside(repository, files)


# Updates of the Compose stack: an image below the application's, under a name of our own.


def commit_without_packages(repository: Path, image: str) -> str:
    """The sha of a release whose backend has its packages from `image`, so that building it from nothing takes seconds."""
    text = (repository / "backend" / "Dockerfile").read_text()
    first, last = text.partition("\nFROM ")[0], text.rpartition("\nFROM ")[2]
    made = f"{first}\nFROM {last}".replace("COPY --from=packages", f"COPY --from={image}")
    assert image in made
    return commit_beside(repository, {"backend/Dockerfile": made})


def publish_base(engine: Engine, below: str, name: str, version: str | None) -> None:
    """The image `name` is `below`; with a version it has the package in that one, too."""
    before = engine.image(name)
    if version is None:
        engine.api.tag(below, *name.split(":"))
    else:
        _build_base(engine, below, name, version)
    if before not in (None, engine.image(name), engine.image(below)):
        engine.remove_image(str(before))  # it has no name any more


def _build_base(engine: Engine, below: str, name: str, version: str) -> None:
    entry = (
        f"\nPackage: {TRIAL}\nStatus: install ok installed\nArchitecture: all\nMaintainer: a test\nVersion: {version}\nDescription: none\n"
    )
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as archive:
        for path, text in {"Dockerfile": f"FROM {below}\nCOPY more /more\nRUN cat /more >> {_STATUS}\n", "more": entry}.items():
            member = tarfile.TarInfo(path)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    context.seek(0)
    said = list(engine.api.build(fileobj=context, custom_context=True, tag=name, rm=True, forcerm=True, decode=True))
    assert engine.has_image(name), said[-3:]


# A process that is killed in the middle


def killed_rebuild(folder: Path, verb: str) -> bool:
    """Rebuilds in a process that is killed, as by `kill -9`, after a verb. Says whether it came to be killed before its end."""
    argv = [sys.executable, "-m", "tests.support.upkeep", str(folder), verb]
    done = subprocess.run(argv, env={**os.environ, "PYTHONPATH": str(PROJECT)}, check=False, timeout=300)
    assert done.returncode in (0, -signal.SIGKILL), "the rebuild failed by itself"
    return done.returncode != 0


def main() -> None:
    """Is killed after the verb of that name, of the rebuild or of its taking over."""
    verb = sys.argv[2]
    owner: Any = Rebuild if hasattr(Rebuild, verb) else Rollout
    done = getattr(owner, verb)

    def doing(self: Any, *arguments: Any, **named: Any) -> None:
        done(self, *arguments, **named)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, verb, doing)
    print(json.dumps(rebuild(quick(open_site(Path(sys.argv[1])), keep=20)).outcome))


if __name__ == "__main__":
    main()
