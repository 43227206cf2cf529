"""The package's part of the hookscript: hooks.d in every phase, the guard before the start of a guest with passed-through devices."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.hookscript.bed import HOOKS, LIBEXEC, PHASES, attach, call, config, install, script, witness

PASSED = "hostpci0: 0000:01:00.0,pcie=1\nmemory: 512\n"


@pytest.fixture(autouse=True)
def installed() -> Path:
    install()
    return attach()


@pytest.mark.parametrize("phase", PHASES)
def test_the_guard_is_asked_before_starts_only(installed: Path, phase: str) -> None:
    config(PASSED)
    assert call(installed, "100", phase) == (0, "guard 100 pre-start\n" if phase == "pre-start" else "", "")


@pytest.fixture
def noted() -> Iterator[Path]:
    """That the last start of the guest is noted."""
    note = script(Path("/run/pvehooks/started/100"), "{}", 0o600)
    yield note
    note.unlink()


def test_after_a_noted_start_the_guard_is_asked(installed: Path, noted: Path) -> None:
    """Whatever the config says by now, and without reading it: pending changes are applied by the stop, and pmxcfs may hang."""
    assert call(installed, "100", "post-stop") == (0, "guard 100 post-stop\n", "")
    assert call(installed, "101", "post-stop") == (0, "", "")
    for phase in ("post-start", "pre-stop"):
        assert call(installed, "100", phase) == (0, "", "")


@pytest.mark.parametrize("guard", ["#!/bin/sh\nexit 1\n", "#!/bin/sh\nkill -9 $$\n", "#!/usr/bin/no-such-python3\n", None])
def test_a_guard_that_fails_after_a_stop_fails_no_stop(installed: Path, noted: Path, guard: str | None) -> None:
    (LIBEXEC / "guard").unlink()
    install(guard)
    assert call(installed, "100", "post-stop") == (0, "", "")


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("memory: 512\n", False),
        (PASSED, True),
        ("memory: 512\nhostpci15: mapping=gpu\n", True),
        ("#hostpci0: 0000:01:00.0\nmemory: 512\n", False),
        ("args: -device vfio-pci,host=01:00.0\nmemory: 512\n", True),
        ("args: -device virtio-rng-pci\nname: vfio\n", False),
        ("memory: 512\n\n[snap_1]\nargs: -device vfio-pci,host=01:00.0\n", False),
        ("memory: 512\n\n[PENDING]\nhostpci0: 0000:01:00.0\n", False),
        ("memory: 512\n\n[snap_1]\nhostpci0: 0000:01:00.0\nsnaptime: 1\n", False),
        ("memory: 512\n\n[special:cloudinit]\nhostpci0: x\n", False),
        ("memory: 512\n[no section]\nhostpci0: 0000:01:00.0\n", True),
        ("", False),
    ],
)
def test_which_guests_have_passed_through_devices(installed: Path, text: str, asked: bool) -> None:
    config(text)
    assert call(installed, "100", "pre-start") == (0, "guard 100 pre-start\n" if asked else "", "")


@pytest.mark.parametrize(
    ("record", "asked"),
    [
        ('{"version": 1, "firmware": {"volid": "local:efi-firmware/app.fd"}}\n', True),
        ('{"version": 1, "rng0": {"value": "source=/dev/urandom"}}\n', False),
        ("", False),
    ],
)
def test_a_guest_with_a_firmware_image(record: str, asked: bool, installed: Path) -> None:
    config("memory: 512\n\n[PENDING]\nhostpci0: 0000:01:00.0\n")
    note = Path("/etc/pve/pvehooks/guests/100.json")
    note.parent.mkdir(parents=True)
    note.write_text(record)
    assert call(installed, "100", "pre-start") == (0, "guard 100 pre-start\n" if asked else "", "")


@pytest.mark.parametrize("status", [0, 1, 3])
def test_the_guards_word_counts(installed: Path, status: int) -> None:
    config(PASSED)
    install(f"#!/bin/sh\necho why\nexit {status}\n")
    assert call(installed, "100", "pre-start") == (status, "why\n", "")


def test_a_guest_without_passthrough_never_meets_the_guard(installed: Path) -> None:
    config("memory: 512\n")
    install("#!/bin/sh\nexit 1\n")
    assert call(installed, "100", "pre-start") == (0, "", "")


@pytest.mark.parametrize("trouble", ["gone", "no interpreter", "mode", "gone meanwhile"])
def test_a_guard_that_is_not_there_stops_no_guest(installed: Path, trouble: str) -> None:
    config(PASSED)
    if trouble == "gone":
        (LIBEXEC / "guard").unlink()
    elif trouble == "gone meanwhile":
        script(LIBEXEC / "guard", '#!/bin/sh\nrm "$0"\nexec /usr/bin/python3 -IS /nowhere/guard 2>/dev/null\n', 0o755)
    else:
        script(LIBEXEC / "guard", "#!/usr/bin/no-such-python3\n", 0o644 if trouble == "mode" else 0o755)
    ran = call(installed, "100", "pre-start")
    assert (ran.status, ran.out) == (0, "")
    assert ran.err.endswith(
        "pvehooks: /usr/libexec/pvehooks/guard cannot be run: VM 100 starts without its guard. Install it anew: apt install --reinstall pvehooks\n"
    )


def test_a_guard_that_is_killed(installed: Path) -> None:
    config(PASSED)
    install("#!/bin/sh\nkill -9 $$\n")
    ran = call(installed, "100", "pre-start")
    assert ran.status == 137
    assert "pvehooks: signal 9 ended the guard before it had looked: the start of VM 100 is refused." in ran.err
    assert "pvehooks detach 100" in ran.err


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_bytes_that_are_no_characters_hide_nothing(installed: Path, locale: str) -> None:
    config("")
    Path("/etc/pve/local/qemu-server/100.conf").write_bytes(b"args: -name \xff\xe9 -device vfio-pci,host=01:00.0\n")
    assert call(installed, "100", "pre-start", LC_ALL=locale).out == "guard 100 pre-start\n"


# -- incoming migrations ----------------------------------------------------------------------------------------------


def test_the_config_of_an_incoming_guest_is_below_its_source(installed: Path) -> None:
    config(PASSED, node="pve-2.example")
    install('#!/bin/sh\necho "from $PVE_MIGRATED_FROM"\n')
    assert call(installed, "100", "pre-start", PVE_MIGRATED_FROM="pve-2.example") == (0, "from pve-2.example\n", "")


def test_after_a_remote_migration_it_is_here(installed: Path) -> None:
    config(PASSED)
    assert call(installed, "100", "pre-start", PVE_MIGRATED_FROM="elsewhere").out == "guard 100 pre-start\n"


@pytest.mark.parametrize("nonsense", ["../../../tmp/x", "/", "..", "a/b", "a b", "$(reboot)", "\x1b[31m", "ä", "a\nb"])
def test_nonsense_in_the_source(installed: Path, nonsense: str) -> None:
    config(PASSED)
    install('#!/bin/sh\necho "from ${PVE_MIGRATED_FROM-nowhere}"\n')
    ran = call(installed, "100", "pre-start", PVE_MIGRATED_FROM=nonsense)
    assert ran == (0, "from nowhere\n", "pvehooks: PVE_MIGRATED_FROM is no name of a node: the config of VM 100 on this node counts\n")


def test_no_config(installed: Path) -> None:
    """What cannot be read is asked of the guard, which knows what to do then."""
    ran = call(installed, "100", "pre-start")
    assert (ran.status, ran.out) == (0, "guard 100 pre-start\n")


@pytest.mark.parametrize(
    "shell",
    [
        pytest.param('exec "$@" >&-', id="standard output is closed"),
        pytest.param('exec "$@" >/dev/full', id="standard output takes nothing"),
        pytest.param('exec "$@" 0<&- 1>&- 2>&-', id="all streams are closed"),
    ],
)
@pytest.mark.parametrize(("text", "status"), [(PASSED, 1), ("memory: 512\n", 0)])
def test_the_guard_is_asked_whatever_happens_to_sed(installed: Path, shell: str, text: str, status: int) -> None:
    """A guest that must not start does not; one without passed-through devices does, or is left to the guard."""
    config(text)
    install("#!/bin/sh\nexit 1\n" if status else "#!/bin/sh\nexit 0\n")
    assert call(installed, "100", "pre-start", shell=("/bin/sh", "-c", shell, "sh")).status == status


@pytest.mark.parametrize("status", [1, 2, 3, 4, 127, 137, 139])
def test_a_sed_that_fails(installed: Path, status: int, tmp_path: Path) -> None:
    config(PASSED)
    script(tmp_path / "sed", f"#!/bin/sh\nexit {status}\n")
    assert call(installed, "100", "pre-start", PATH=f"{tmp_path}:/usr/bin:/bin").out == "guard 100 pre-start\n"


@pytest.mark.parametrize("status", [2, 126, 127])
def test_a_guard_that_is_there_and_cannot_be_run(installed: Path, status: int) -> None:
    """A python3 that cannot map a library ends with 127, as one does that is not there."""
    config(PASSED)
    install(f"#!/bin/sh\nexit {status}\n")
    ran = call(installed, "100", "pre-start")
    assert ran.status == 1
    assert f"is there, but could not be run (status {status}): the start of VM 100 is refused." in ran.err
    assert "qm set 100 --delete hookscript" in ran.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("abc", "pre-start"), "'abc' is no VMID: nothing is done"),
        (("", "pre-start"), "'' is no VMID: nothing is done"),
        (("../100", "pre-start"), "'../100' is no VMID: nothing is done"),
        ((), "'' is no VMID: nothing is done"),
        (("100", "pre-lunch"), "'pre-lunch' is no phase that is known here: nothing is done for VM 100"),
        (("100",), "'' is no phase that is known here: nothing is done for VM 100"),
    ],
)
def test_bad_arguments(installed: Path, arguments: tuple[str, ...], words: str) -> None:
    config(PASSED)
    script(HOOKS / "hook", witness("hook"))
    assert call(installed, *arguments) == (0, "", f"pvehooks: {words}\n")


# -- hooks.d ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", PHASES)
def test_hooks_in_every_phase(installed: Path, phase: str) -> None:
    """In the order of their bytes, with arguments, environment, input and output as they came, before the guard."""
    config(PASSED)
    for name in ("b", "a", "10-x", "B", "not.a-hook", "c~", "d.dpkg-old"):
        script(HOOKS / name, f"#!/bin/sh\necho {name} $*\n")
    ran = call(installed, "100", phase)
    guard = ["guard 100 pre-start"] if phase == "pre-start" else []
    assert ran.out.splitlines() == [*(f"{name} 100 {phase}" for name in ("10-x", "B", "a", "b")), *guard]
    assert (ran.status, ran.err) == (0, "")
    hook = script(HOOKS / "a", witness("hook"))
    environment = {"path": "/a/b", "why": "because", "status": "x", "hook": "y", "list": "z", "LANG": "de_DE.UTF-8"}
    direct = call(hook, "100", phase, **environment)
    for name in ("b", "10-x", "B"):
        (HOOKS / name).unlink()
    assert call(installed, "100", phase, **environment).out == direct.out + "".join(f"{line}\n" for line in guard)


@pytest.mark.parametrize("phase", PHASES)
def test_a_hook_that_fails(installed: Path, phase: str) -> None:
    config(PASSED)
    script(HOOKS / "a", "#!/bin/sh\necho a\nexit 7\n")
    script(HOOKS / "b", "#!/bin/sh\necho b\n")
    ran = call(installed, "100", phase)
    if phase == "pre-start":
        assert (ran.status, ran.out) == (7, "a\n")
        assert ran.err == (
            "pvehooks: /etc/pvehooks/hooks.d/a ended with status 7: the start of VM 100 is refused."
            " Fix it, or switch it off: chmod a-x /etc/pvehooks/hooks.d/a\n"
        )
    else:
        assert (ran.status, ran.out) == (0, "a\nb\n")
        assert ran.err == f"pvehooks: /etc/pvehooks/hooks.d/a ended with status 7 in {phase} of VM 100\n"


def linked(path: Path) -> None:
    """Puts a link to it in its place."""
    path.rename("/etc/pvehooks/real")
    path.symlink_to("/etc/pvehooks/real")


def made_a_directory(path: Path) -> None:
    """Puts a directory in its place."""
    path.unlink()
    path.mkdir()


def with_mode(mode: int) -> Callable[[Path], None]:
    """Gives it a mode."""
    return lambda path: path.chmod(mode)


def given_away(path: Path) -> None:
    """Gives it to somebody."""
    os.chown(path, 1000, 0)


WRITABLE = "it can be written by others than root (chmod go-w /etc/pvehooks/hooks.d/a)"


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        pytest.param(with_mode(0o775), WRITABLE, id="group"),
        pytest.param(with_mode(0o757), WRITABLE, id="others"),
        pytest.param(given_away, "it does not belong to root (chown root: /etc/pvehooks/hooks.d/a)", id="owner"),
        pytest.param(with_mode(0o644), "it is not an executable file", id="mode"),
        pytest.param(made_a_directory, "it is not an executable file", id="directory"),
        pytest.param(linked, "it is a symbolic link: put the script itself there", id="link"),
    ],
)
def test_a_hook_that_is_not_trusted(installed: Path, harm: Callable[[Path], None], words: str) -> None:
    """It alone is left out."""
    config(PASSED)
    hook = script(HOOKS / "a", "#!/bin/sh\necho a\nexit 1\n")
    script(HOOKS / "b", "#!/bin/sh\necho b\n")
    harm(hook)
    ran = call(installed, "100", "pre-start")
    assert ran == (0, "b\nguard 100 pre-start\n", f"pvehooks: /etc/pvehooks/hooks.d/a is not run: {words}\n")


@pytest.mark.parametrize(
    ("path", "harm", "words"),
    [
        pytest.param(HOOKS, with_mode(0o777), "can be written by others than root (chmod go-w", id="hooks.d"),
        pytest.param(HOOKS, with_mode(0o775), "can be written by others than root (chmod go-w", id="group"),
        pytest.param(HOOKS.parent, with_mode(0o1777), "can be written by others than root (chmod go-w", id="sticky parent"),
        pytest.param(HOOKS.parent, given_away, "does not belong to root (chown root:", id="owner of a parent"),
        pytest.param(HOOKS, linked, "is a symbolic link: put the script itself there", id="link"),
    ],
)
def test_a_directory_that_is_not_trusted(installed: Path, path: Path, harm: Callable[[Path], None], words: str) -> None:
    """Nothing in it is run, and the guest starts."""
    config(PASSED)
    script(HOOKS / "a", "#!/bin/sh\necho a\nexit 1\n")
    harm(path)
    ran = call(installed, "100", "pre-start")
    assert (ran.status, ran.out) == (0, "guard 100 pre-start\n")
    assert ran.err.startswith(f"pvehooks: nothing in /etc/pvehooks/hooks.d is run: {path} {words}")
    assert ran.err.count("\n") == 1
