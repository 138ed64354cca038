"""python -m tests.engine up | down | status | images: a real Docker Engine with stand-in images for the tests.

up       uses the engine that answers already, or starts one of its own; then builds the stand-in images that are missing or outdated
down     stops our own engine, and takes away the containers and volumes in it; its images stay for the next time
status   which engine the tests would use, and whether its images are as they should be (exit status 1 when they would use none)
images   builds the images on the engine that answers; without one it does nothing
"""

from __future__ import annotations

import argparse
import sys
import time

from officeops.errors import OfficeOpsError
from tests.engine.daemon import own, reachable
from tests.engine.home import alone, connect, home, plugin_folder
from tests.engine.standins import ensure, outdated


def up() -> int:
    """Has an engine with every image."""
    began = time.monotonic()
    with alone(home()):
        host = reachable()
        started = host is None
        if host is None:
            own().start()
            host = reachable() or own().host
        built = ensure(host, lambda tag: say(f"built {tag}"))
    say(f"{'Started an engine' if started else 'Using the engine'} at {host}; images built: {len(built)}; {time.monotonic() - began:.1f} s")
    return 0


def down() -> int:
    """Has no engine of our own."""
    with alone(home()):
        ran = own().stop()
    say("Stopped the tests' engine." if ran else "The tests' engine was not running.")
    return 0


def status() -> int:
    """Says what there is."""
    host = reachable()
    if host is None:
        say("No Docker Engine answers. `python -m tests.engine up` starts one.")
        return 1
    client = connect(host)
    stale = outdated(client)
    say(f"Docker Engine {client.version()['Version']}{' (our own)' if host == own().host else ''}")
    say(f"export DOCKER_HOST={host} DOCKER_CONFIG={plugin_folder()}")
    say(f"Images to be built: {', '.join(stale)}" if stale else "Every stand-in image is there.")
    return 1 if stale else 0


def images() -> int:
    """Has every image on the engine, if there is one."""
    host = reachable()
    if host is not None:
        with alone(home()):
            ensure(host, lambda tag: say(f"built {tag}"))
    return 0


def say(text: str) -> None:
    """One line."""
    print(text, flush=True)


def main() -> int:
    """The command line."""
    verbs = {"up": up, "down": down, "status": status, "images": images}
    parser = argparse.ArgumentParser(
        prog="python -m tests.engine", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("verb", choices=verbs)
    try:
        return verbs[parser.parse_args().verb]()
    except OfficeOpsError as error:
        print(f"tests.engine: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
