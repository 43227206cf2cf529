"""The control socket's language: one JSON line there, one JSON line back."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

ANSWER_TIMEOUT = 30.0


class ControlError(OSError):
    """The node refused a command, with the errno its store gave."""


def encode(value: Any) -> Any:
    """Bytes as JSON."""
    return {"bytes": value.decode("latin-1")} if isinstance(value, bytes) else value


def decode(value: Any) -> Any:
    """The opposite of encode."""
    return value["bytes"].encode("latin-1") if isinstance(value, dict) else value


def ask(control: str, command: str, *arguments: Any, timeout: float = ANSWER_TIMEOUT) -> Any:
    """Have a command done; ControlError where it is refused, OSError where nobody answers."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(timeout)
        client.connect(control)
        client.sendall(json.dumps([command, *arguments]).encode() + b"\n")
        with client.makefile("rb") as stream:
            line = stream.readline()
    if not line:
        raise ConnectionResetError("no answer on the control socket")
    answer = json.loads(line)
    if "error" in answer:
        raise ControlError(answer["error"], os.strerror(answer["error"]), answer.get("path"))
    return answer["result"]


def listen(control: str, commands: dict[str, Callable[..., Any]]) -> None:
    """Answer commands in a thread of their own, for as long as the process lives."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(control)
    server.listen()

    def serve() -> None:
        while True:
            connection, _ = server.accept()
            threading.Thread(target=_answer, args=(connection, commands), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()


def _answer(connection: socket.socket, commands: dict[str, Callable[..., Any]]) -> None:
    with connection, connection.makefile("rwb") as stream:
        line = stream.readline()
        if not line:
            return
        command, *arguments = json.loads(line)
        answer: dict[str, Any]
        try:
            answer = {"result": commands[command](*arguments)}
        except OSError as error:
            answer = {"error": error.errno, "path": error.filename}
        with suppress(BrokenPipeError, ConnectionResetError):  # the asker may have waited long enough
            stream.write(json.dumps(answer).encode() + b"\n")
            stream.flush()
