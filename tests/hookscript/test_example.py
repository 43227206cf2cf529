"""The example for hooks.d: it does nothing as it is shipped, and nothing to devices in use."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.beds.namespace import mount
from tests.hookscript.bed import PHASES, PROJECT, Ran, call, script

EXAMPLE = PROJECT / "doc/examples/hooks.d/reset-method"
DEVICE = Path("/sys/bus/pci/devices/0000:01:00.0")


@pytest.fixture(autouse=True)
def sysfs() -> Iterator[None]:
    """A device on no driver, with two reset methods."""
    mount("tmpfs", "/sys/bus/pci", "tmpfs")
    try:
        DEVICE.mkdir(parents=True)
        (DEVICE / "reset_method").write_text("flr bus\n")
        (DEVICE / "enable").write_text("0\n")
        yield
    finally:
        subprocess.run(["umount", "--lazy", "/sys/bus/pci"], check=True)


def with_table(tmp_path: Path, line: str, phase: str = "pre-start") -> Ran:
    """The example with a line in its table."""
    text = EXAMPLE.read_text()
    assert "table='\n" in text
    return call(script(tmp_path / "reset-method", text.replace("table='\n", f"table='\n{line}\n")), "100", phase)


def on_driver(name: str, enabled: int, vfio: bool = False) -> None:
    Path("/sys/bus/pci/drivers", name).mkdir(parents=True)
    (DEVICE / "driver").symlink_to(f"../../drivers/{name}")
    (DEVICE / "enable").write_text(f"{enabled}\n")
    if vfio:
        (DEVICE / "vfio-dev").mkdir()


@pytest.mark.parametrize("phase", PHASES)
def test_as_shipped(phase: str) -> None:
    assert call(EXAMPLE, "100", phase) == (0, "", "")


def test_a_reset_method(tmp_path: Path) -> None:
    ran = with_table(tmp_path, "100 0000:01:00.0 method=flr")
    assert ran == (0, "", "reset-method: 0000:01:00.0 is reset by flr from now on\n")
    assert (DEVICE / "reset_method").read_text() == "flr\n"
    assert with_table(tmp_path, "100 0000:01:00.0 method=flr") == (0, "", "")


@pytest.mark.parametrize("line", ["101 0000:01:00.0 method=flr", "1000 0000:01:00.0 method=flr", ""])
def test_other_guests(tmp_path: Path, line: str) -> None:
    assert with_table(tmp_path, line) == (0, "", "")
    assert (DEVICE / "reset_method").read_text() == "flr bus\n"


@pytest.mark.parametrize(
    ("driver", "enabled", "vfio", "done"),
    [
        ("vfio-pci", 0, False, True),
        ("mlx5-vfio-pci", 0, True, True),
        ("nvme", 0, False, False),
        ("nvme", 1, False, False),
        ("vfio-pci", 1, True, False),
    ],
)
def test_devices_in_use(tmp_path: Path, driver: str, enabled: int, vfio: bool, done: bool) -> None:
    on_driver(driver, enabled, vfio)
    ran = with_table(tmp_path, "100 0000:01:00.0 method=flr")
    assert ran.status == 0
    assert ((DEVICE / "reset_method").read_text() == "flr\n") is done
    assert (ran.err == f"reset-method: 0000:01:00.0 is in use, on the driver {driver}: it is not touched\n") is not done


def test_rescan(tmp_path: Path) -> None:
    """No kernel is behind these files: what is written is seen, and the device stays."""
    for name in ("remove", "rescan"):
        (DEVICE / name).touch()
    Path("/sys/bus/pci/rescan").touch()
    assert with_table(tmp_path, "100 0000:01:00.0 rescan") == (0, "", "")
    assert (DEVICE / "remove").read_text() == "1\n"
    assert Path("/sys/bus/pci/rescan").read_text() == "1\n"


def test_a_device_that_does_not_come_back(tmp_path: Path) -> None:
    Path("/sys/bus/pci/rescan").touch()
    ran = with_table(tmp_path, "100 0000:09:00.0 rescan\n100 0000:01:00.0 method=flr")
    assert ran.status == 1
    assert "0000:09:00.0 did not come back: the start is refused" in ran.err


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("100 01:00.0 method=flr", "'01:00.0' is not a PCI address such as 0000:01:00.0"),
        ("100 0000:01:00.0 reset", "'reset' is neither method=NAME nor rescan"),
        ("100 0000:01:00.0", "'' is neither method=NAME nor rescan"),
        ("100 0000:09:00.0 method=flr", "0000:09:00.0 has no reset_method"),
    ],
)
def test_mistakes_in_the_table(tmp_path: Path, line: str, words: str) -> None:
    ran = with_table(tmp_path, line)
    assert ran.status == 0
    assert ran.err.startswith(f"reset-method: {words}")
