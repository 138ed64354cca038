"""A Redis server for a machine without one: fakeredis behind a TCP port. Nothing is kept when it stops; the application treats it as a cache.

python -m officeops.stack.local.redis --port 6379
"""

from __future__ import annotations

import argparse
import signal
import sys
from types import FrameType


def main() -> None:
    """Serves until it is told to stop."""
    from fakeredis import TcpFakeServer

    parser = argparse.ArgumentParser(description="A simulated Redis server.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, _stop)
    server = TcpFakeServer((options.host, options.port), server_type="redis")
    server.daemon_threads = True  # else it would wait for its clients to go before it stops
    print(f"simulated Redis (fakeredis) on {options.host}:{options.port}", flush=True)
    server.serve_forever()


def _stop(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)


if __name__ == "__main__":
    main()
