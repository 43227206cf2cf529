"""The examples for notify.d: they send nothing as they are shipped, and what they send arrives."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pvehooks.host import Host
from pvehooks.journal.kind import ERR
from pvehooks.journal.outbox import Letter
from pvehooks.notify.channels import PROGRAMS, hand_over
from pvehooks.notify.message import Message, compose
from tests.beds.notifying import PROJECT, NotifyBed

EXAMPLES = PROJECT / "doc/examples/notify.d"


@pytest.fixture
def message() -> Message:
    return compose([Letter("finding", "refused_starts", ERR, "VM 100 (web): its bridge is göne", 100, "", "pve1", 1_733_000_000.0)])


def with_values(name: str, **values: str) -> str:
    """The example with its settings filled in."""
    lines = (EXAMPLES / name).read_text().split("\n")
    for key, value in values.items():
        (at,) = (number for number, line in enumerate(lines) if line.startswith((f"{key} = ", f"{key}=")))
        lines[at] = f'{key} = "{value}"' if name == "webhook" else f"{key}='{value}'"
    return "\n".join(lines)


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.iterdir()))
def test_as_shipped_nothing_is_sent(name: str, bed: NotifyBed, message: Message) -> None:
    bed.program(name, (EXAMPLES / name).read_text())
    assert hand_over(Host(), f"{PROGRAMS}/{name}", message).done
    assert not bed.web.posted


@pytest.mark.parametrize(
    ("service", "path"),
    [("ntfy", "/topic"), ("gotify", "/topic/message"), ("matrix", "/topic/send/m.room.message/pvehooks-"), ("json", "/topic")],
)
def test_a_web_service_gets_it(service: str, path: str, bed: NotifyBed, message: Message) -> None:
    bed.program("webhook", with_values("webhook", SERVICE=service, URL=f"{bed.web.url}/topic", TOKEN="secret"))
    result = hand_over(Host(), f"{PROGRAMS}/webhook", message)
    assert result.done, result.words
    ((posted, body, headers),) = bed.web.posted
    assert posted.startswith(path)
    assert "göne" in (body.decode() if service == "ntfy" else json.dumps(json.loads(body), ensure_ascii=False))
    if service != "json":
        assert "secret" in {**headers, "Authorization": headers.get("Authorization", "").removeprefix("Bearer ")}.values()


def test_a_web_service_that_does_not_answer(bed: NotifyBed, message: Message) -> None:
    bed.program("webhook", with_values("webhook", URL="http://127.0.0.1:1/"))
    result = hand_over(Host(), f"{PROGRAMS}/webhook", message)
    assert not result.done
    assert "Connection refused" in result.words


def test_nagios_gets_a_passive_result(bed: NotifyBed, message: Message, tmp_path: Path) -> None:
    send_nsca = Path("/usr/sbin/send_nsca")
    send_nsca.write_text(f'#!/bin/sh\necho "$@" >{tmp_path}/arguments\ncat >{tmp_path}/given\n')
    send_nsca.chmod(0o755)
    bed.program("nagios", with_values("nagios", server="monitor"))
    assert hand_over(Host(), f"{PROGRAMS}/nagios", message).done
    host, service, state, text = (tmp_path / "given").read_text().rstrip("\n").split("\t")
    assert (service, state) == ("pvehooks", "2")
    assert text == "pvehooks on pve1: start refused: VM 100 (web)"
    assert host
