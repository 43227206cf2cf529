"""A machine of QEMU's, everything emulated: boots, does its job, and goes down."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

from tests.kernel import hardware
from tests.kernel.cases import IOMMU
from tests.kernel.image import COMMAND_LINE, ROOT, Images

# Where every instruction is emulated and others use the machine's processors too.
TIMEOUT = 1500.0


class Outcome:
    """What a machine has told, as objects by their `what`; the last lines of its console for when that is not enough."""

    def __init__(self, directory: Path, ended: bool) -> None:
        self.console = (directory / "console").read_text(errors="replace") if (directory / "console").exists() else ""
        lines = (directory / "out").read_text(errors="replace").splitlines()
        self.objects: list[dict[str, Any]] = [json.loads(line) for line in lines if line.endswith("}")]
        self.ended = ended

    def all(self, what: str) -> list[dict[str, Any]]:
        """The objects of a kind."""
        return [each for each in self.objects if each["what"] == what]

    @property
    def journal(self) -> str:
        """What the package has said in the machine's journal."""
        return "\n".join(line for each in self.all("journal") for line in each["lines"])

    def start(self, name: str) -> dict[str, Any]:
        """What came of the start of a guest."""
        found = [each for each in self.all("start") if each["name"] == name]
        assert found, f"the machine did not come to it: {self.trouble()}"
        return found[0]

    def trouble(self) -> str:
        """Why it did not come to its end, '' if it did."""
        broken = "\n".join(each["why"] for each in self.all("broken"))
        if self.all("end"):
            return broken
        ending = "went down before its job was done" if self.ended else f"did not come to its end in {TIMEOUT} s"
        return f"the machine {ending}\n{broken}\n{self.console[-4000:]}\n{self.journal}"


class Setup(NamedTuple):
    """A machine: its IOMMU, its devices, the words of its kernel's command line, None where GRUB starts the kernel.

    `root` is a disk that keeps what is written to it, in the place of the one that all have.
    """

    kind: str
    iommu: bool
    ports: tuple[hardware.Port, ...] = hardware.PORTS
    command_line: str | None = ""
    root: Path | None = None
    cpu: str = "max"
    # Whether QEMU's monitor (QMP) listens at `qmp` in the machine's directory.
    monitor: bool = False
    # The system whose QEMU it is, None for this one: Debian 12's has no igb.
    qemu: Path | None = None


def _setup(kind: str) -> Setup:
    return Setup(kind, kind == IOMMU, command_line=f"{COMMAND_LINE} quiet bed.machine={kind}{' intel_iommu=on iommu=pt' * (kind == IOMMU)}")


def arguments(images: Images, directory: Path, setup: Setup) -> list[str]:
    """QEMU's command line."""
    command = [
        *_with_programs_of(setup.qemu),
        "qemu-system-x86_64",
        "-machine",
        "q35",
        "-accel",
        "tcg,thread=multi,tb-size=512",
        "-cpu",
        setup.cpu,
        # One: with two, TCG runs stale code while the kernel patches itself at boot, and the kernel ends with an int3 that nobody set.
        "-smp",
        "1",
        "-m",
        "1024",
    ]
    command += ["-nodefaults", "-display", "none", "-vga", "none", "-no-reboot", "-monitor", "none"]
    if setup.monitor:
        command += ["-qmp", f"unix:{directory / 'qmp'},server=on,wait=off"]
    if setup.iommu:
        # Before all devices that it is to translate for.
        command += ["-device", "intel-iommu,intremap=on,caching-mode=on"]
    if setup.command_line is not None:
        command += ["-kernel", str(images.kernel.image), "-initrd", str(images.kernel.initrd), "-append", setup.command_line]
    command += ["-serial", f"file:{directory / 'console'}", "-device", "virtio-serial-pci,bus=pcie.0,addr=0x4"]
    command += ["-chardev", f"file,id=out,path={directory / 'out'}", "-device", "virtserialport,chardev=out,name=bed.out"]
    for disk in hardware.disks(setup.ports):
        file = images.directory / disk.image if disk.image else directory / f"{disk.name}.img"
        if not disk.image:
            with file.open("wb") as image:
                image.truncate(disk.mebibytes << 20)
        kept = setup.root if disk.image == ROOT else None
        command += ["-drive", f"if=none,id={disk.name},file={kept or file},format=raw{'' if kept else ',snapshot=on'}"]
    return [*command, *hardware.arguments(setup.ports)]


def _with_programs_of(system: Path | None) -> list[str]:
    """What starts a program of another system, which sees all other files as they are here."""
    if system is None:
        return []
    return ["unshare", "--mount", "sh", "-c", 'mount --bind "$1" /usr; shift; exec "$@"', "sh", str(system / "usr")]


def boot(images: Images, directory: Path, setup: Setup | str) -> Outcome:
    """Boots a machine, one of the usual ones by its kind, and waits until it is down."""
    (directory / "out").write_text("")
    command = arguments(images, directory, _setup(setup) if isinstance(setup, str) else setup)
    with (directory / "qemu").open("wb") as words:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=words, stderr=words)
        try:
            process.wait(TIMEOUT)
            ended = True
        except subprocess.TimeoutExpired:
            ended = False
        finally:
            process.kill()
            process.wait()
    complaints = (directory / "qemu").read_text(errors="replace")
    assert process.returncode in (0, -9), complaints
    return Outcome(directory, ended)
