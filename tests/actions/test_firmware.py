"""Giving a guest a firmware image and taking it back, in a tree: its own args stay what they are, to the letter."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pvehooks.actions import firmware
from pvehooks.actions.result import Outcome, Result
from pvehooks.facts.guests import configs as guests
from pvehooks.facts.storage import images
from pvehooks.formats import qemuargs
from pvehooks.host import Host
from pvehooks.settings import load as pvehooks_settings
from pvehooks.values import Guest
from tests.beds.tree import make_fake_tree

CONFIG = "etc/pve/nodes/pve1/qemu-server/100.conf"
VOLID = "local:efi-firmware/app.fd"
OURS = (
    "-blockdev driver=raw,node-name=pvehooks-firmware,read-only=on,file.driver=file,file.filename=/var/lib/vz/efi-firmware/app.fd"
    " -machine pflash0=pvehooks-firmware"
)
BASE = "bios: ovmf\nmachine: q35\nsmbios1: uuid=5bbfe0c8-2a22-4ba0-9f9d-6f2a58f1b3a1\n"


def tree(directory: Path | str, config: str = BASE) -> Host:
    files = {CONFIG: config, "var/lib/vz/efi-firmware/app.fd": "image\n", "var/lib/vz/efi-firmware/new.fd": "other\n"}
    return Host(str(make_fake_tree(directory, {**files, "var/lib/vz/snippets/": None})))


def guest_of(host: Host) -> Guest:
    return guests.read(host, "pve1", 100, guests.gather_context(host, "pve1", None))


def text(host: Host) -> str:
    return Path(host.root, CONFIG).read_text()


def give(host: Host, volid: str = VOLID, with_guard: bool = False) -> Result:
    return firmware.give(host, guest_of(host), pvehooks_settings.load(host).rng(100), images.look(host, volid), with_guard)


def take(host: Host) -> Result:
    return firmware.take(host, guest_of(host), pvehooks_settings.load(host).rng(100))


def args(host: Host) -> str:
    return str(guest_of(host).options.get("args", ""))


def test_given_and_taken(tmp_path: Path) -> None:
    host = tree(tmp_path)
    result = give(host)
    assert (result.done, result.value, result.later) == (True, OURS, False)
    assert args(host) == OURS
    assert host.read(result.backup).decode() == BASE
    pinned = guest_of(host).firmware
    assert pinned is not None
    assert (pinned.volid, pinned.sha256, pinned.style, pinned.args, pinned.state) == (
        VOLID,
        images.sha256(b"image\n"),
        "pflash",
        OURS,
        "done",
    )
    image = guest_of(host).image
    assert image is not None
    assert (image.trouble, image.in_args, image.sha256 == pinned.sha256) == ("", True, True)
    assert take(host).done
    assert text(host) == BASE
    assert guest_of(host).firmware is None


WORDS = st.text(alphabet="ab1 \"'\\-=,\t\u00e9", max_size=30)


@settings(max_examples=200)
@given(WORDS.map(str.strip))
@example('-name \'a b\' -foo "x\\"y"')
@example("-smbios 'type=1,x=\\\\'")
def test_args_of_the_user_survive(own: str) -> None:
    """What stands in the config is the same, byte for byte, and QEMU gets the user's words and then ours."""
    with tempfile.TemporaryDirectory(dir="/run") as directory:
        before = (f"args: {own}\n" if own else "") + BASE
        host = tree(directory, before)
        kept = args(host)
        try:
            result = give(host)
        except qemuargs.ArgsError:
            assert text(host) == before
            return
        if "PVE would drop" in result.words:
            # PVE itself would write this value differently.
            assert text(host) == before
            return
        assert result.done
        assert qemuargs.split(args(host)) == (*(qemuargs.split(kept) or ()), *OURS.split())
        assert take(host).done
        assert args(host) == kept
        assert sorted(text(host).splitlines()) == sorted(before.splitlines())


def test_another_image_replaces_the_first(tmp_path: Path) -> None:
    host = tree(tmp_path, f"args: -name x\n{BASE}")
    give(host)
    assert give(host, "local:efi-firmware/new.fd").done
    assert args(host) == f"-name x {OURS.replace('app.fd', 'new.fd')}"
    pinned = guest_of(host).firmware
    assert pinned is not None
    assert pinned.sha256 == images.sha256(b"other\n")
    take(host)
    assert args(host) == "-name x"


def test_a_clone_is_adopted_and_not_given_it_twice(tmp_path: Path) -> None:
    host = tree(tmp_path, f"args: -name x {OURS}\n{BASE}")
    assert guest_of(host).firmware is None
    assert give(host).done
    assert args(host) == f"-name x {OURS}"
    assert guest_of(host).firmware is not None


def test_words_added_behind_ours_stay(tmp_path: Path) -> None:
    host = tree(tmp_path, f"args: -name x\n{BASE}")
    give(host)
    Path(host.root, CONFIG).write_text(text(host).replace(OURS, f"{OURS} -m 5"))
    assert take(host).done
    assert args(host) == "-name x -m 5"


def test_edited_args_stay_and_the_record_goes(tmp_path: Path) -> None:
    host = tree(tmp_path)
    give(host)
    Path(host.root, CONFIG).write_text(text(host).replace("read-only=on", "read-only=off"))
    before = text(host)
    result = take(host)
    assert result.done
    assert "stay as they are" in result.words
    assert text(host) == before
    assert guest_of(host).firmware is None


def test_the_guard_comes_with_it_in_the_same_change(tmp_path: Path) -> None:
    host = tree(tmp_path, f"hookscript: local:snippets/own.pl\n{BASE}")
    assert give(host, with_guard=True).volid == "local:snippets/pvehooks-guard-local+own.pl"
    assert "hookscript: local:snippets/pvehooks-guard-local+own.pl\n" in text(host)
    take(host)
    freed = firmware.let_guard_go(host, guest_of(host), pvehooks_settings.load(host).rng(100))
    assert freed is not None
    assert freed.done
    assert sorted(text(host).splitlines()) == sorted(f"hookscript: local:snippets/own.pl\n{BASE}".splitlines())
    assert guest_of(host).attachment is None


def test_a_guest_with_devices_keeps_the_guard(tmp_path: Path) -> None:
    host = tree(tmp_path, f"hostpci0: 0000:01:00.0\n{BASE}")
    give(host, with_guard=True)
    take(host)
    assert firmware.let_guard_go(host, guest_of(host), pvehooks_settings.load(host).rng(100)) is None
    assert "hookscript: local:snippets/pvehooks-guard\n" in text(host)


@pytest.mark.parametrize(
    ("config", "outcome", "words"),
    [
        (f"lock: backup\n{BASE}", Outcome.LOCKED, "locked (backup)"),
        (f"{BASE}[PENDING]\nmemory: 4096\n", Outcome.DECLINED, "other changes are pending (memory)"),
        (f"foo: bar\n{BASE}", Outcome.LOSSY, "PVE would drop line 1"),
    ],
)
def test_what_stands_against_it(config: str, outcome: Outcome, words: str, tmp_path: Path) -> None:
    host = tree(tmp_path, config)
    result = give(host)
    assert result.outcome is outcome
    assert words in result.words
    assert text(host) == config
    assert guest_of(host).firmware is None


def test_a_config_changed_meanwhile_is_not_written(tmp_path: Path) -> None:
    host = tree(tmp_path)
    seen = guest_of(host)
    Path(host.root, CONFIG).write_text(f"{BASE}memory: 1024\n")
    result = firmware.give(host, seen, pvehooks_settings.load(host).rng(100), images.look(host, VOLID), with_guard=False)
    assert result.outcome is Outcome.CHANGED
    assert text(host) == f"{BASE}memory: 1024\n"
    assert guest_of(host).firmware is None


def test_a_confidential_guest_gets_it_by_bios(tmp_path: Path) -> None:
    host = tree(tmp_path, f"amd-sev: type=snp\n{BASE}")
    assert give(host).value == "-bios /var/lib/vz/efi-firmware/app.fd"


def test_a_path_with_blanks_and_commas_is_one_word(tmp_path: Path) -> None:
    host = tree(tmp_path)
    Path(host.root, "etc/pve/storage.cfg").write_text("dir: odd\n\tpath /mnt/a, b\n\tcontent images\n")
    Path(host.root, "mnt/a, b/efi-firmware").mkdir(parents=True)
    Path(host.root, "mnt/a, b/efi-firmware/app.fd").write_text("image\n")
    assert give(host, "odd:efi-firmware/app.fd").done
    words = qemuargs.split(args(host))
    assert words is not None
    assert words[1].endswith("file.filename=/mnt/a,, b/efi-firmware/app.fd")
    assert firmware.own_args(guest_of(host)) == ""


def test_a_writer_ended_half_way_keeps_no_guest_from_starting(tmp_path: Path) -> None:
    """The record says "writing" before the args are written: neither with nor without them is anything wrong."""
    host = tree(tmp_path)
    give(host)
    record = Path(host.root, "etc/pve/pvehooks/guests/100.json")
    record.write_text(record.read_text().replace('"state": "done"', '"state": "writing"'))
    pinned = guest_of(host).firmware
    assert pinned is not None
    assert pinned.state == "writing"
    assert give(host).done
    pinned = guest_of(host).firmware
    assert pinned is not None
    assert pinned.state == "done"


def test_no_image_without_the_guard_that_looks_at_it(tmp_path: Path) -> None:
    host = tree(tmp_path, f"hookscript: local:iso/x\n{BASE}")
    result = give(host, with_guard=True)
    assert result.outcome is Outcome.DECLINED
    assert result.words.startswith("the guard, which compares the image before each start, cannot be attached: its own hookscript cannot")
    assert args(host) == ""
