"""The network of the tests' engine: a bridge, a block of addresses and three firewall rules of its own.

dockerd's own firewall rules have names that every dockerd of a machine would share (and empties when it starts), so it is told to make none."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from officeops.process import CommandError
from tests.engine.home import EngineError, do

Block = ipaddress.IPv4Network


@dataclass(frozen=True)
class Network:
    """bridge: the interface's name. pool: where every network of the engine lies."""

    bridge: str
    pool: Block

    @property
    def options(self) -> list[str]:
        """What dockerd is told of it. With addresses of its own it would remove the interface docker0 at its second start,
        whoever's that is, unless it is to leave running containers alone."""
        return [f"--bridge={self.bridge}", f"--default-address-pool=base={self.pool},size=24", "--iptables=false", "--live-restore"]

    def up(self) -> None:
        """Makes what is not there."""
        if not _has_interface(self.bridge):
            do("ip", "link", "add", self.bridge, "type", "bridge")
        first = next(self.pool.subnets(new_prefix=24))
        do("ip", "address", "replace", f"{first[1]}/24", "dev", self.bridge)
        do("ip", "link", "set", self.bridge, "up")
        for table, chain, rule in self._rules():
            if not _has_rule(table, chain, rule):
                do("iptables", "--wait", "-t", table, "-I", chain, *rule)

    def down(self) -> None:
        """Takes away what `up` made."""
        for table, chain, rule in self._rules():
            if _has_rule(table, chain, rule):
                do("iptables", "--wait", "-t", table, "-D", chain, *rule)
        if _has_interface(self.bridge):
            do("ip", "link", "delete", self.bridge)

    def _rules(self) -> list[tuple[str, str, list[str]]]:
        pool, mine = str(self.pool), ["-m", "comment", "--comment", self.bridge]
        return [
            ("nat", "POSTROUTING", ["-s", pool, "!", "-d", pool, *mine, "-j", "MASQUERADE"]),
            ("filter", "FORWARD", ["-s", pool, *mine, "-j", "ACCEPT"]),
            ("filter", "FORWARD", ["-d", pool, "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED", *mine, "-j", "ACCEPT"]),
        ]


def network_of(folder: Path) -> Network:
    """The network of the engine in this folder; the same block at every start, since the engine's networks remember theirs."""
    kept = folder / "addresses"
    if not kept.exists():
        kept.write_text(str(_free_block()))
    return Network("oe" + hashlib.sha256(str(folder).encode()).hexdigest()[:8], Block(kept.read_text()))


def _free_block() -> Block:
    taken = [Block(route["dst"]) for route in json.loads(do("ip", "-json", "-4", "route")) if route["dst"] != "default"]
    blocks = Block("10.0.0.0/8").subnets(new_prefix=16)
    free = [block for block in blocks if block.network_address.packed[1] > 200 and not any(block.overlaps(one) for one in taken)]
    if not free:
        raise EngineError("No block of addresses is free for containers: 10.201.0.0 to 10.255.0.0 are all routed somewhere.")
    return free[0]


def _has_interface(name: str) -> bool:
    return name in {found for _, found in socket.if_nameindex()}


def _has_rule(table: str, chain: str, rule: list[str]) -> bool:
    with suppress(CommandError):
        do("iptables", "--wait", "-t", table, "-C", chain, *rule)
        return True
    return False
