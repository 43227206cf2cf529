"""How Ansible reaches a booted system: by the agent in it (tests/node/inside/agent.py). Ansible loads this file, as the connection "bed"."""

from __future__ import annotations

import base64
import json
import os
import shlex
import socket
from pathlib import Path

from ansible.plugins.connection import ConnectionBase

DOCUMENTATION = """
name: bed
short_description: Runs tasks in a booted system of the tests
description: [By its agent, whose socket BED_AGENT names.]
author: pvehooks
options: {}
"""
_TIMEOUT = 300


class Connection(ConnectionBase):
    """As Ansible's other connections."""

    transport = "bed"
    has_pipelining = True

    def _connect(self) -> Connection:
        return self

    def exec_command(self, cmd: str, in_data: bytes | None = None, sudoable: bool = True) -> tuple[int, bytes, bytes]:
        """Runs a line of sh."""
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        order = {"argv": ["sh", "-c", cmd], "input": (in_data or b"").decode(), "timeout": _TIMEOUT, "environment": {}}
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(_TIMEOUT + 15)
            client.connect(os.environ["BED_AGENT"])
            client.sendall(json.dumps(order).encode() + b"\n")
            with client.makefile("rb") as stream:
                done = json.loads(stream.readline())
        return done["status"], done["out"].encode(), done["err"].encode()

    def put_file(self, in_path: str, out_path: str) -> None:
        """Writes a file there."""
        super().put_file(in_path, out_path)
        content = base64.b64encode(Path(in_path).read_bytes())
        status, _, why = self.exec_command(f"base64 -d >{shlex.quote(out_path)}", content)
        if status:
            raise OSError(why.decode())

    def fetch_file(self, in_path: str, out_path: str) -> None:
        """Reads a file there."""
        super().fetch_file(in_path, out_path)
        status, content, why = self.exec_command(f"base64 {shlex.quote(in_path)}")
        if status:
            raise OSError(why.decode())
        Path(out_path).write_bytes(base64.b64decode(content))

    def close(self) -> None:
        """There is nothing to close."""
