"""bind.bind: it leaves nothing behind when it works, and everything as before when it does not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from pvehooks.actions.pci import bind, unfinished
from pvehooks.facts.guests import configs as guests
from pvehooks.host import Host
from pvehooks.values import Guest
from tests.actions.pci.kernel import BUS, Kernel
from tests.beds import uses
from tests.beds.forked import forked
from tests.beds.tree import make_fake_tree
from tests.guard import bed

DISK, OTHER = bed.IDLE_DISK, "0000:06:00.0"
MORE = f"{OTHER} class=010802 id=144d:a808 driver=nvme group=6\n"


def guest(host: Host) -> Guest:
    return guests.read(host, "pve1", 100, guests.start_context(host, "pve1", 100))


def node(directory: Path, more: str = "", **options: Any) -> Kernel:
    """A node whose guest gets two disks, both on their driver."""
    root = bed.node(directory, hostpci=f"{DISK}\nhostpci1: {OTHER}", bus=bed.BUS + MORE + more)
    return Kernel(root, **options)


def override(host: Host, address: str) -> str:
    return host.read_text(f"{BUS}/devices/{address}/driver_override")


def named_in(writes: list[tuple[str, str]]) -> set[str]:
    """The devices that were written to, or about."""
    return {path.split("/")[5] if "/devices/" in path else text for path, text in writes}


def test_bound_and_nothing_left_behind(tmp_path: Path) -> None:
    host = node(tmp_path)
    assert bind.bind(host, guest(host), "pve1", [DISK, OTHER]) == (bind.Bound(DISK, "nvme"), bind.Bound(OTHER, "nvme"))
    for address in (DISK, OTHER):
        assert (bind.driver(host, address), override(host, address)) == ("vfio-pci", "(null)")
    assert not any(path.endswith("new_id") for path, _ in host.writes)
    assert named_in(host.writes) == {DISK, OTHER}, "the named devices alone"


def test_without_a_driver_and_already_bound(tmp_path: Path) -> None:
    host = node(tmp_path)
    host.write_attribute(f"{BUS}/devices/{DISK}/driver/unbind", DISK)
    assert bind.bind(host, guest(host), "pve1", [DISK]) == (bind.Bound(DISK, ""),)
    host.writes.clear()
    assert bind.bind(host, guest(host), "pve1", [DISK]) == ()
    assert host.writes == []


def test_an_override_of_the_admin_stays(tmp_path: Path) -> None:
    host = node(tmp_path)
    host.write_attribute(f"{BUS}/devices/{DISK}/driver_override", "pci-stub")
    bind.bind(host, guest(host), "pve1", [DISK])
    assert (bind.driver(host, DISK), override(host, DISK)) == ("vfio-pci", "pci-stub")


def test_the_module_is_loaded_when_it_is_missing(tmp_path: Path) -> None:
    bus = "".join(line for line in bed.BUS.splitlines(keepends=True) if "vfio-pci" not in line)
    root = bed.node(tmp_path, hostpci=DISK, bus=bus)
    host = Kernel(root, modules=False)
    with pytest.raises(bind.Unbound, match=r"the module vfio-pci could not be loaded \(modprobe ended with 1\)"):
        bind.bind(host, guest(host), "pve1", [DISK])
    assert host.writes == []
    assert bind.bind(Kernel(root), guest(host), "pve1", [DISK]) == (bind.Bound(DISK, "nvme"),)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"fails": {"vfio-pci"}}, "cannot be bound to vfio-pci: vfio-pci refused it, see: dmesg"),
        ({"refuses": {("driver_override", "vfio-pci")}}, "driver_override took no 'vfio-pci': Input/output error"),
        ({"refuses": {("unbind", DISK)}}, f"unbind took no '{DISK}'"),
        ({"refuses": {("drivers_probe", DISK)}}, f"drivers_probe took no '{DISK}'"),
    ],
)
def test_what_fails_is_undone(options: dict[str, Any], words: str, tmp_path: Path) -> None:
    host = node(tmp_path, **options)
    with pytest.raises(bind.Unbound) as failed:
        bind.bind(host, guest(host), "pve1", [DISK])
    assert words in failed.value.message
    assert failed.value.message.endswith(f"; {DISK} is on nvme as before")
    assert (bind.driver(host, DISK), override(host, DISK)) == ("nvme", "(null)")


def test_an_override_that_cannot_be_cleared(tmp_path: Path) -> None:
    host = node(tmp_path, refuses={("driver_override", "\n")})
    with pytest.raises(bind.Unbound, match="driver_override took no ''"):
        bind.bind(host, guest(host), "pve1", [DISK])
    assert bind.driver(host, DISK) == "nvme"


def test_a_driver_that_does_not_take_it_back(tmp_path: Path) -> None:
    host = node(tmp_path, fails={"vfio-pci", "nvme"})
    with pytest.raises(bind.Unbound, match=f"{DISK} has no driver now$"):
        bind.bind(host, guest(host), "pve1", [DISK])


def test_what_was_bound_before_is_given_back(tmp_path: Path) -> None:
    """A start that is refused in the end leaves the node as it was."""
    host = node(tmp_path, refuses={("unbind", OTHER)})
    with pytest.raises(bind.Unbound, match=f"{OTHER} is on nvme as before; {DISK} is on nvme as before$"):
        bind.bind(host, guest(host), "pve1", [DISK, OTHER])
    assert bind.driver(host, DISK) == "nvme"


@pytest.mark.parametrize(
    ("planter", "words"),
    [(uses.mounted_partition, "holds /srv"), (uses.running_guest, "is held by VM 105"), (uses.swap_partition, "swap")],
)
def test_what_came_into_use_meanwhile_is_left_alone(planter: uses.Planter, words: str, tmp_path: Path) -> None:
    host = node(tmp_path)
    files: uses.Files = {path: host.read(f"/{path}").decode() for path in ("proc/self/mountinfo", "proc/mounts", "proc/swaps")}
    planter(files, DISK)
    for path in [path for path in files if (tmp_path / path).exists() or (tmp_path / path).is_symlink()]:
        (tmp_path / path).unlink()
    make_fake_tree(tmp_path, files)
    with pytest.raises(bind.Unbound, match=words):
        bind.bind(host, guest(host), "pve1", [DISK])
    assert host.writes == []


def test_never_a_bridge_nor_what_is_gone(tmp_path: Path) -> None:
    host = node(tmp_path, "0000:07:00.0 class=060400 id=8086:1901 group=7 bridge=1\n")
    for address, words in (("0000:07:00.0", "is a bridge"), ("0000:08:00.0", "is not on the bus any more")):
        with pytest.raises(bind.Unbound, match=words):
            bind.bind(host, guest(host), "pve1", [address])
    assert host.writes == []


@pytest.mark.parametrize("questions", [1, 2, 3])
def test_called_off(questions: int, tmp_path: Path) -> None:
    """Before the first device, between the two, after the last: all is as before."""
    host = node(tmp_path)
    answers = [False] * (questions - 1) + [True]
    with pytest.raises(bind.Unbound, match="the start was called off while its devices were bound"):
        bind.bind(host, guest(host), "pve1", [DISK, OTHER], lambda: answers.pop(0))
    for address in (DISK, OTHER):
        assert (bind.driver(host, address), override(host, address)) == ("nvme", "(null)")
    assert len([path for path, _ in host.writes if path.endswith("drivers_probe")]) == questions - 1


# -- killed while it binds --------------------------------------------------------------------------------------------


class Killed(Kernel):
    """Ends the process as SIGKILL does, before or after its Nth write."""

    def __init__(self, root: Path, number: int, before: bool) -> None:
        super().__init__(root)
        self.left = number
        self.before = before

    def write_attribute(self, path: str, text: str) -> None:
        self.left -= 1
        if not self.left and self.before:
            os._exit(9)
        super().write_attribute(path, text)
        if not self.left:
            os._exit(9)


def killed(root: Path, number: int, before: bool) -> None:
    """A process that binds the disk and is killed."""
    host = Killed(root, number, before)
    assert forked(lambda: bind.bind(host, guest(host), "pve1", [DISK])) == 9


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("number", [1, 2, 3, 4])
@pytest.mark.parametrize("admins", ["(null)", "pci-stub"])
def test_killed_at_any_step(admins: str, number: int, before: bool, tmp_path: Path) -> None:
    """The next look finishes it: the override is what it was, and the next bind works."""
    host = node(tmp_path)
    (tmp_path / f"sys/bus/pci/devices/{DISK}/driver_override").write_text(f"{admins}\n")
    killed(tmp_path, number, before)
    home = dict(host.home)
    host = Kernel(tmp_path)
    host.home = home
    bind.finish_begun(host)
    assert override(host, DISK) == admins
    assert bind.driver(host, DISK) == ("vfio-pci" if number == 4 or (number == 3 and not before) else "nvme")
    assert host.names(unfinished.DIRECTORY) == []
    bind.bind(host, guest(host), "pve1", [DISK])
    assert (bind.driver(host, DISK), override(host, DISK)) == ("vfio-pci", admins)


def test_what_another_process_is_binding_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unfinished, "PATIENCE", 0.0)
    host = node(tmp_path)
    host.write_attribute(f"{BUS}/devices/{DISK}/driver_override", "vfio-pci")
    unfinished.note(host, unfinished.BegunBind(DISK, "nvme", ""))
    with unfinished.lock(host, DISK):
        bind.finish_begun(host)
        assert override(host, DISK) == "vfio-pci"
        with pytest.raises(bind.Unbound, match=r"another process changes the driver of .* at this moment"):
            bind.bind(host, guest(host), "pve1", [DISK])
    bind.finish_begun(host)
    assert override(host, DISK) == "(null)"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"former": 1, "override": ""}', "\xff", "9" * 5000])
def test_a_note_that_cannot_be_read_is_removed(content: str, tmp_path: Path) -> None:
    host = node(tmp_path)
    host.make_dir(unfinished.DIRECTORY)
    host.replace(f"{unfinished.DIRECTORY}/{DISK}", content.encode())
    host.replace(f"{unfinished.DIRECTORY}/README", b"")
    bind.finish_begun(host)
    assert host.names(unfinished.DIRECTORY) == ["README"]


def test_what_cannot_be_noted_is_not_begun(tmp_path: Path) -> None:
    host = node(tmp_path)
    (tmp_path / "run/pvehooks").mkdir(parents=True, exist_ok=True)
    (tmp_path / "run/pvehooks/binding").write_text("")
    with pytest.raises(bind.Unbound, match="cannot be noted"):
        bind.bind(host, guest(host), "pve1", [DISK])
    assert host.writes == []
