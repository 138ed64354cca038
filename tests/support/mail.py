"""A mail server on loopback that keeps what it is sent."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import cast


@dataclass
class Mailbox:
    """port: where it listens. mails: what arrived, with its recipients."""

    port: int = 0
    mails: list[tuple[list[str], EmailMessage]] = field(default_factory=list)


@contextmanager
def running_smtp() -> Iterator[Mailbox]:
    """A server for the block: as much of SMTP as a client needs to hand over mail."""
    box = Mailbox()

    class Session(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            recipients: list[str] = []
            self.say("220 here")
            while line := self.rfile.readline().decode().strip():
                verb = line.split(":")[0].split()[0].upper()
                if verb == "RCPT":
                    recipients.append(line.partition("<")[2].partition(">")[0])
                if verb == "DATA":
                    self.say("354 go on")
                    box.mails.append((recipients, self.mail()))
                    recipients = []
                self.say("221 bye" if verb == "QUIT" else "250 fine")
                if verb == "QUIT":
                    return

        def mail(self) -> EmailMessage:
            lines = []
            while (line := self.rfile.readline()) not in (b".\r\n", b""):
                lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
            return cast(EmailMessage, message_from_bytes(b"".join(lines), policy=policy.default))

        def say(self, words: str) -> None:
            self.wfile.write(f"{words}\r\n".encode())

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Session) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        box.port = server.server_address[1]
        yield box
        server.shutdown()
