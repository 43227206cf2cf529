"""Files below /etc/pve that are replaced while they are read: none of them counts as gone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pvehooks.guard import fallback
from pvehooks.host import Host
from tests.beds.pmxcfs import Pmxcfs
from tests.beds.process import kill_on_failure

CONFIG = "/etc/pve/nodes/pve1/qemu-server/100.conf"
# As PVE writes (PVE/Tools.pm, file_set_contents), some hundred times as often.
WRITER = """\
import os, sys, time
path = sys.argv[1]
print(flush=True)
while True:
    for memory in (512, 1024):
        with open(f"{path}.tmp.{os.getpid()}", "w") as file:
            file.write(f"memory: {memory}\\n")
        os.rename(file.name, path)
        time.sleep(0.001)
"""


@pytest.fixture
def pve() -> Iterator[Pmxcfs]:
    with Pmxcfs(files={CONFIG.removeprefix("/etc/pve/"): "memory: 512\n"}) as running:
        yield running


@contextmanager
def replaced(path: str) -> Iterator[None]:
    """Another process replaces the file again and again."""
    with kill_on_failure(subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE)) as writer:
        try:
            assert writer.stdout is not None and writer.stdout.readline()
            yield
        finally:
            writer.kill()


@pytest.mark.usefixtures("pve")
def test_a_config_that_is_being_replaced_is_there() -> None:
    host = Host()
    missed = reads = 0
    with replaced(CONFIG):
        while missed < 5:
            assert host.read(CONFIG).startswith(b"memory: ")
            try:
                host._read(CONFIG, 1 << 20)
            except FileNotFoundError:
                missed += 1
            reads += 1
            assert reads < 100_000, "no open meets a rename: the file system is not like pmxcfs in that any more, and this proves nothing"


@pytest.mark.usefixtures("pve")
def test_what_decides_without_an_examination_finds_it_too() -> None:
    with replaced(CONFIG):
        for _ in range(300):
            assert fallback.read_evidence(Host(), 100, "").config.startswith("memory: ")


def test_a_config_that_is_gone_is_gone(pve: Pmxcfs) -> None:
    Path(CONFIG).unlink()
    with pytest.raises(FileNotFoundError):
        Host().read(CONFIG)
    with pytest.raises(FileNotFoundError):
        Host().read("/etc/pve/pvehooks/guests/100.json")
