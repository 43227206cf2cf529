"""The backups of configs that are changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pvehooks.actions import backups
from pvehooks.host import Host
from tests.beds.tree import make_fake_tree


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(str(make_fake_tree(tmp_path, {"etc/": None})))


def test_the_last_twenty_backups_are_kept(host: Host) -> None:
    for number in range(25):
        kept = backups.save(host, 100, f"number: {number}\n".encode())
        os.utime(host.locate(kept.path), (number, number))
        backups.finish(host, kept, used=True)
    backups.save(host, 101, b"another guest\n")
    contents = [host.read(each.path) for each in backups.of_guest(host, 100)]
    assert len(contents) == backups.KEPT
    assert b"number: 24\n" in contents
    assert b"number: 4\n" not in contents
    assert len(backups.of_guest(host, 101)) == 1
    # Tries at what another process changes at the same time push none of them out.
    for number in range(25):
        backups.finish(host, backups.save(host, 100, f"try: {number}\n".encode()), used=False)
    assert {host.read(each.path) for each in backups.of_guest(host, 100)} == set(contents)
    backups.finish(host, backups.save(host, 100, contents[0]), used=False)
    assert len(backups.of_guest(host, 100)) == backups.KEPT


def test_the_last_backup_is_kept_when_the_clock_has_gone_back(host: Host) -> None:
    for number in range(backups.KEPT + 5):
        made = backups.save(host, 100, f"number: {number}\n".encode())
        backups.finish(host, made, used=True)
        os.utime(host.locate(made.path), (4_000_000_000 + number, 4_000_000_000 + number))
    last = backups.save(host, 100, b"the last one\n")
    backups.finish(host, last, used=True)
    assert host.read(last.path) == b"the last one\n"
    assert len(backups.of_guest(host, 100)) == backups.KEPT


def test_backups_that_one_may_not_see(host: Host) -> None:
    backups.finish(host, backups.save(host, 100, b"memory: 512\n"), used=True)
    os.seteuid(65534)
    try:
        with pytest.raises(PermissionError):
            backups.of_guest(host, 100)
    finally:
        os.seteuid(0)
