"""A connection to the engine that a test can cut, while the engine itself goes on."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Cable:
    """A socket that hands everything on to another one until it is cut. path: where it is; None: by TCP, at a free port."""

    path: Path | None
    target: str
    _open: list[socket.socket] = field(default_factory=list)
    _listener: socket.socket = field(init=False)

    def __post_init__(self) -> None:
        self._listener = socket.socket(socket.AF_INET if self.path is None else socket.AF_UNIX)
        self._listener.bind(("127.0.0.1", 0) if self.path is None else str(self.path))

    @property
    def host(self) -> str:
        """As DOCKER_HOST."""
        return f"tcp://127.0.0.1:{self._listener.getsockname()[1]}" if self.path is None else f"unix://{self.path}"

    def lay(self) -> None:
        self._listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Every connection ends in the middle, and there are no new ones."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self._open:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.socket(socket.AF_UNIX)
                far.connect(self.target)
                self._open += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=_hand_on, args=(source, sink), daemon=True).start()


def _hand_on(source: socket.socket, sink: socket.socket) -> None:
    try:
        while chunk := source.recv(1 << 16):
            sink.sendall(chunk)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


@contextmanager
def cable(folder: Path | None, docker_host: str) -> Iterator[Cable]:
    """A cable to the engine at `docker_host`, for the block. folder: where its socket is; None: by TCP."""
    made = Cable(folder and folder / "cable", docker_host.removeprefix("unix://"))
    made.lay()
    try:
        yield made
    finally:
        made.cut()
