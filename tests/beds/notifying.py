"""Where messages go: a stand-in for PVE::Notify, a sendmail that relays to an SMTP server, and a web server, both on loopback."""

from __future__ import annotations

import json
import shutil
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.beds.namespace import SCRATCH, mount

PROJECT = Path(__file__).parents[2]
# The types of the two suites differ.
_POLICY: Any = policy.default
MODULES = Path(__file__).parent / "pvenotify"
TEMPLATES = Path("/usr/share/pve-manager/templates/default")
OUTBOX = Path("/var/lib/pvehooks/notify/new")
PROGRAMS = Path("/etc/pvehooks/notify.d")
# Perl looks there first (Debian's @INC).
PERL = Path("/etc/perl/PVE")
SENDMAIL = """\
#!/usr/bin/python3
import smtplib, sys
with smtplib.SMTP("127.0.0.1", {port}, timeout=30) as server:
    server.sendmail("root@pve1", sys.argv[-1], sys.stdin.buffer.read())
"""


class WebServer:
    """Takes what is posted; answers with `status`."""

    def __init__(self) -> None:
        self.posted: list[tuple[str, bytes, dict[str, str]]] = []
        self.status = 200
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.posted.append((self.path, body, dict(self.headers)))
                self.send_response(outer.status)
                self.end_headers()

            def do_PUT(self) -> None:
                self.do_POST()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def bodies(self) -> list[Any]:
        """What was posted, as JSON."""
        return [json.loads(body) for _, body, _ in self.posted]

    def close(self) -> None:
        """Ends it: nothing listens there any more."""
        self._server.shutdown()
        self._server.server_close()


class MailServer:
    """Takes mails by SMTP."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.wfile.write(b"220 ready\r\n")
                while line := self.rfile.readline():
                    word = line.strip().upper()[:4]
                    if word == b"DATA":
                        self.wfile.write(b"354 go on\r\n")
                        lines = iter(self.rfile.readline, b".\r\n")
                        raw = b"".join(each.removeprefix(b".") if each.startswith(b"..") else each for each in lines)
                        mail = message_from_bytes(raw, policy=_POLICY)
                        assert isinstance(mail, EmailMessage)
                        outer.mails.append(mail)
                    self.wfile.write(b"221 end\r\n" if word == b"QUIT" else b"250 good\r\n")

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Ends it."""
        self._server.shutdown()
        self._server.server_close()


class NotifyBed:
    """A node whose messages arrive here."""

    def __init__(self) -> None:
        self.web = WebServer()
        self.mail = MailServer()
        for directory in (OUTBOX, PROGRAMS, PERL, TEMPLATES):
            directory.mkdir(parents=True, exist_ok=True)
        Path("/usr/sbin/sendmail").write_text(SENDMAIL.format(port=self.mail.port))
        Path("/usr/sbin/sendmail").chmod(0o755)

    def with_pve(self, *targets: str, age: str = "") -> None:
        """The node has Proxmox VE's notifications, with such targets; of the newest version, or of one in ages/."""
        for module in (MODULES / "PVE").iterdir():
            shutil.copy(module, PERL)
        if age:
            newest = (PERL / "Notify.pm").read_text()
            (PERL / "NotifyBed.pm").write_text(newest.replace("package PVE::Notify;", "package PVE::NotifyBed;"))
            shutil.copy(MODULES / f"ages/{age}.pm", PERL / "Notify.pm")
        for template in (PROJECT / "templates").iterdir():
            shutil.copy(template, TEMPLATES)
        Path("/etc/pve/notifications.cfg").write_text("".join(f"{target}\n" for target in targets))

    def program(self, name: str, script: str, mode: int = 0o755) -> Path:
        """A program in notify.d."""
        path = PROGRAMS / name
        path.write_text(script)
        path.chmod(mode)
        return path


@contextmanager
def notify_bed() -> Iterator[NotifyBed]:
    """A bed, with directories of its own over those of the machine."""
    places = ("/usr/share", "/usr/sbin")
    fresh = ("/var/lib/pvehooks", "/etc/pvehooks", "/etc/perl", "/etc/pve")
    for place in places:
        layer = SCRATCH / place.strip("/").replace("/", "-")
        shutil.rmtree(layer, ignore_errors=True)
        for part in ("upper", "work"):
            (layer / part).mkdir(parents=True)
        mount("overlay", place, "overlay", options=f"lowerdir={place},upperdir={layer}/upper,workdir={layer}/work")
    for place in fresh:
        mount("tmpfs", place, "tmpfs", options="mode=0755")
    bed = NotifyBed()
    try:
        yield bed
    finally:
        bed.web.close()
        bed.mail.close()
        subprocess.run(["umount", "--lazy", *places, *fresh], check=True)
