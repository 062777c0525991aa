"""A name server that lies: every other answer about its names is an address of this machine or of its network.

    unshare --user --map-root-user --mount --net python -m tests.hostile.rebinding

Runs in a network of its own, where the system's own resolver asks this server. Prints what came of fetching as JSON.
"""

from __future__ import annotations

import fcntl
import json
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path
from typing import Any

from locara_label.fetch import Fetcher, Rules
from locara_label.fetch.addresses import is_public
from tests.fetch.web import LEGACY, Answer, Web, code_of, redirect

PUBLIC = "93.184.215.14"
PRIVATE = ("127.0.0.1", "10.0.0.5", "169.254.169.254", "192.168.1.1", "0.0.0.0", "100.64.0.1")
ROUNDS = 10
UNSHARE = ["unshare", "--user", "--map-root-user", "--mount", "--net"]
_UP = 1


class NameServer:
    """Answers on port 53 of this machine: of "both-" names all addresses at once, of others one after the other, for 0 s."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 53))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            question, client = self._socket.recvfrom(512)
            self._socket.sendto(self._answer(question), client)

    def _answer(self, question: bytes) -> bytes:
        name, end = _name(question)
        kind = struct.unpack_from(">H", question, end)[0]
        addresses = self._addresses(name) if kind == 1 else []
        head = question[:2] + struct.pack(">HHHHH", 0x8580, 1, len(addresses), 0, 0)
        records = [b"\xc0\x0c" + struct.pack(">HHLH", 1, 1, 0, 4) + socket.inet_aton(address) for address in addresses]
        return head + question[12 : end + 4] + b"".join(records)

    def _addresses(self, name: str) -> list[str]:
        self.asked[name] += 1
        private = PRIVATE[int(name.split("-")[1].split(".", maxsplit=1)[0]) % len(PRIVATE)]
        if name.startswith("both-"):
            return [PUBLIC, private]
        return [PUBLIC if self.asked[name] % 2 else private]


def _name(question: bytes) -> tuple[str, int]:
    """The name that is asked for, and where it ends."""
    parts, at = [], 12
    while size := question[at]:
        parts.append(question[at + 1 : at + 1 + size].decode())
        at += size + 1
    return ".".join(parts).lower(), at + 1


def isolate() -> None:
    """Makes the loopback device work and this machine's name server ours."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
        flags = struct.unpack_from("16sH", fcntl.ioctl(plain, 0x8913, struct.pack("16sH14s", b"lo", 0, b"")))[1]
        fcntl.ioctl(plain, 0x8914, struct.pack("16sH14s", b"lo", flags | _UP, b""))
    with tempfile.NamedTemporaryFile("w", delete=False) as file:
        file.write("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    subprocess.run(["mount", "--bind", file.name, "/etc/resolv.conf"], check=True)
    Path(file.name).unlink()


class Seen:
    """Where sockets connect to, the name server left out."""

    def __init__(self, own: set[int]) -> None:
        self.places: set[tuple[str, int]] = set()
        real = socket.socket.connect

        def connect(opened: socket.socket, address: Any) -> None:
            if address[1] not in own:
                self.places.add(address[:2])
            real(opened, address)

        socket.socket.connect = connect  # type: ignore[method-assign]


def tried() -> dict[str, Any]:
    names = NameServer()
    with Web() as canary, Web() as studio:
        canary.routes["/"] = Answer(body=b"secret")
        seen, codes = Seen({studio.port, 53}), Counter[str]()
        fetcher = Fetcher(Rules(studio.url, LEGACY, allowed_hosts=("*:*",)))
        for number in range(len(PRIVATE)):
            for kind in ("turn", "both"):
                for _ in range(ROUNDS):
                    address = f"http://{kind}-{number}.example:{canary.port}/"
                    studio.routes[f"/data/upload/{number}.png"] = redirect(address)
                    codes[f"asked: {code_of(lambda address=address: fetcher.read(address))}"] += 1
                    reference = f"/data/upload/{number}.png"
                    codes[f"redirected: {code_of(lambda reference=reference: fetcher.read(reference))}"] += 1
        private = sorted(place for place in seen.places if not is_public_text(place[0]))
        return {"codes": dict(codes), "lookups": sum(names.asked.values()), "private": private, "canary": len(canary.log)}


def is_public_text(address: str) -> bool:
    import ipaddress

    return is_public(ipaddress.ip_address(address))


if __name__ == "__main__":
    isolate()
    print(json.dumps(tried()))
    sys.exit(0)
