"""A small IMAP server on a real socket, with one folder whose mails a test puts there."""

import re
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Box:
    """What the server holds, and how it behaves."""

    mails: dict[int, bytes] = field(default_factory=dict)
    flags: dict[int, set[str]] = field(default_factory=dict)
    moved: dict[str, list[int]] = field(default_factory=dict)
    validity: int = 1
    can_move: bool = True
    password: str = "s3cret"
    fetched: list[int] = field(default_factory=list)
    hangs: bool = False
    """It ends the connection when it is asked for a mail."""
    goes_on: threading.Event = field(default_factory=threading.Event)
    """Until this is set, it does not even do that."""
    port: int = 0

    def put(self, *mails: bytes) -> None:
        for raw in mails:
            self.mails[max(self.mails, default=0) + 1] = raw


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        box: Box = self.server.box  # type: ignore[attr-defined]
        self.wfile.write(b"* OK ready\r\n")
        while line := self.rfile.readline():
            tag, _, command = line.decode().strip().partition(" ")
            if box.hangs and "FETCH" in command:
                box.goes_on.wait(20)
                return
            for told in self._answers(box, command):
                self.wfile.write(told + b"\r\n")
            is_refused = command.startswith("LOGIN") and box.password not in command
            self.wfile.write(f"{tag} {'NO wrong password' if is_refused else 'OK done'}\r\n".encode())
            if command == "LOGOUT":
                return

    def _answers(self, box: Box, command: str) -> Iterator[bytes]:
        words = command.split()
        if command == "CAPABILITY":
            yield b"* CAPABILITY IMAP4rev1" + (b" MOVE" if box.can_move else b"")
        elif words[0] == "SELECT":
            yield f"* {len(box.mails)} EXISTS".encode()
            yield f"* OK [UIDVALIDITY {box.validity}] ok".encode()
        elif words[:2] == ["UID", "SEARCH"]:
            found = re.search(r"UID (\d+):\*", command)
            first = int(found[1]) if found else 1
            # The last one is named in any case.
            numbers = [n for n in sorted(box.mails) if n >= first] or sorted(box.mails)[-1:]
            yield f"* SEARCH {' '.join(map(str, numbers))}".encode()
        elif words[:2] == ["UID", "FETCH"]:
            uid = int(words[2])
            box.fetched.append(uid)
            if uid in box.mails:
                found = re.search(r"<0\.(\d+)>", command)
                raw = box.mails[uid][: int(found[1])] if found else box.mails[uid]
                yield f"* {uid} FETCH (UID {uid} BODY[]<0> {{{len(raw)}}}\r\n".encode() + raw + b")"
        elif words[:2] == ["UID", "STORE"]:
            box.flags.setdefault(int(words[2]), set()).update(re.findall(r"\\\w+", command))
        elif words[:2] in (["UID", "MOVE"], ["UID", "COPY"]):
            box.moved.setdefault(command.split(" ", 3)[3].strip('"'), []).append(int(words[2]))
            if words[1] == "MOVE":
                del box.mails[int(words[2])]


@contextmanager
def serving(box: Box) -> Iterator[Box]:
    """``box.port`` is known inside."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Handler) as server:
        server.daemon_threads = True
        server.box = box  # type: ignore[attr-defined]
        box.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield box
        finally:
            server.shutdown()
            thread.join()
