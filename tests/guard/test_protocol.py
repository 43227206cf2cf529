"""The messages between the child that examines a start and its parent: the table in supervise.py is what both sides do."""

from __future__ import annotations

import ast
import inspect
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pvehooks.guard import supervise
from pvehooks.guard.main import Supervisor
from pvehooks.guard.supervise import MESSAGES
from tests.lint.source import PACKAGE, label, python_files, tree

if TYPE_CHECKING:
    from pvehooks.guard.supervise import Send

GUARD = python_files(PACKAGE / "guard")
# The last one is supervise's own.
HANDLED = {kind: fields for kind, fields in MESSAGES.items() if kind != "ended"}


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """The handlers of this process, which supervise.run replaces."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def sent() -> Iterator[tuple[Path, ast.Call]]:
    """Every call of `send` in the guard, and of the function that it stands for."""
    for path in GUARD:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("send", "_send"):
                yield path, node


def test_each_message_sent_is_in_the_table() -> None:
    for path, call in sent():
        where = f"{label(path)}:{call.lineno}"
        kind = call.args[0]
        assert isinstance(kind, ast.Constant) and kind.value in MESSAGES, f"{where}: the kind is a word of supervise.MESSAGES"
        assert not call.keywords and not any(isinstance(field, ast.Starred) for field in call.args), where
        assert len(call.args) - 1 == len(MESSAGES[str(kind.value)]), f"{where}: the fields are {MESSAGES[str(kind.value)]}"


def test_each_message_of_the_table_is_sent() -> None:
    kinds = {call.args[0].value for _, call in sent() if isinstance(call.args[0], ast.Constant)}
    assert kinds == set(MESSAGES)


def test_each_message_of_the_table_is_handled_with_its_fields() -> None:
    handlers = {
        name.removeprefix("on_"): method for name, method in inspect.getmembers(Supervisor, inspect.isfunction) if name.startswith("on_")
    }
    del handlers["message"]
    fields = {kind: tuple(inspect.signature(method).parameters)[1:] for kind, method in handlers.items()}
    assert fields == HANDLED


@pytest.mark.parametrize("kind", HANDLED)
def test_fields_arrive_as_they_were_sent(kind: str) -> None:
    fields = [f"{number}" for number in range(len(MESSAGES[kind]))]
    if fields:
        fields[-1] += " and  what follows, ü"
    received: list[tuple[str, list[str]]] = []

    def work(send: Send) -> int:
        send(kind, *fields)
        return 0

    assert supervise.run(work, 30, lambda *message: received.append(message)) == 0
    assert received == [(kind, fields)]


@pytest.mark.parametrize("message", [("verdict",), ("verdict", 0, 1), ("binding", "now"), ("unknown",)])
def test_what_is_not_in_the_table_is_not_sent(message: tuple[str, ...]) -> None:
    received: list[tuple[str, list[str]]] = []

    def work(send: Send) -> int:
        send(*message)
        return 0

    assert supervise.run(work, 30, lambda *each: received.append(each)) == supervise.CRASHED
    assert received == []


def test_a_message_sets_the_deadline() -> None:
    """With none left from the message on, the child is killed long before its first deadline."""

    def work(send: Send) -> int:
        send("binding")
        return signal.pause() or 0

    assert supervise.run(work, 3600, lambda *_: 0.0) is None


def test_the_end_of_the_process_is_not_waited_for(tmp_path: Path) -> None:
    """A child that has sent its status may hang in the kernel for long, which closes its files late."""
    late = tmp_path / "late"

    def work(send: Send) -> int:
        send("binding")
        if not os.fork():
            # Holds the pipe, as the child itself does until the kernel has taken its memory apart.
            limit = time.monotonic() + 120
            while not late.exists() and time.monotonic() < limit:
                time.sleep(0.01)
            os._exit(0)
        return 1

    try:
        assert supervise.run(work, 3600, lambda *_: None) == 1
    finally:
        late.touch()
