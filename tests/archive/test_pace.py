"""An archive and the session that works for it keep to one processor."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from officeops.archive.pace import server_process
from officeops.archive.states import session
from officeops.site import Site
from tests.support.site import PROJECT

# In a process of its own: there is no way back.
PROGRAM = """
import json, os, sys
from pathlib import Path
from officeops.archive import pace, states
from officeops.site import open_site
pace.give_way()
with states.session(open_site(Path(sys.argv[1])), "test") as connection:
    server = connection.info.backend_pid
    print(json.dumps([os.getpriority(os.PRIO_PROCESS, 0), list(os.sched_getaffinity(0)), list(os.sched_getaffinity(server))]))
"""


def test_the_servers_process_is_found_by_our_port(new_site: Callable[..., Site], tmp_path: Path) -> None:
    with session(new_site(), "test") as connection:
        assert server_process(connection) == connection.info.backend_pid
        assert server_process(connection, tmp_path) is None


def test_both_keep_to_one_processor_and_others_do_not(new_site: Callable[..., Site]) -> None:
    site = new_site()
    every = os.sched_getaffinity(0)
    env = {**os.environ, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(site.config.folder)], env=env, capture_output=True, text=True, check=True)
    nice, ours, the_servers = json.loads(done.stdout)
    assert (nice >= 10, ours, the_servers) == (True, [max(every)], [max(every)])
    with session(site, "test") as connection:
        assert os.sched_getaffinity(connection.info.backend_pid) == every
