"""Real firmware in QEMU, as Proxmox VE gives it to guests: does it try to boot from the network?

Debian 12 has OVMF of 2022 with a 2M image, from before the network drivers needed entropy; Debian 13 has OVMF and AAVMF of 2025.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

from tests.beds.process import kill_on_failure
from tests.node.trees import make_tree

TIMEOUT = 400.0
RNG = ("-device", "virtio-rng-pci")
# From the firmware on its serial console: that PXE begins; that nothing else was left to boot (with Secure Boot there is no shell).
_PXE, _NOTHING = ">>Start PXE over IPv4", ("EFI Internal Shell", "No bootable option or device was found")
# A pcap file without a packet.
_EMPTY_CAPTURE = 24
_PACKAGES = {"bookworm": ["ovmf"], "trixie": ["ovmf", "qemu-efi-aarch64"]}


class Images(NamedTuple):
    """Code and variables of a firmware, and the QEMU that it is for."""

    code: Path
    variables: Path
    arch: str = "x86_64"

    @property
    def machine(self) -> str:
        """QEMU's machine."""
        return "virt" if self.arch == "aarch64" else "q35"


class Seen(NamedTuple):
    """What the firmware did: whether it announced PXE, whether anything went out on the wire, and the end of its console."""

    pxe: bool
    packets: bool
    console: str


def _unpacked(suite: str, package: str, directory: Path) -> Path:
    """A package of Debian's in a directory of its own; only downloaded, nothing of it is installed."""
    archives = make_tree(suite, "firmware", ["base-files"], _PACKAGES[suite]) / "var/cache/apt/archives"
    (archive,) = archives.glob(f"{package}_*.deb")
    place = directory / f"{suite}-{package}"
    subprocess.run(["dpkg-deb", "--extract", archive, place], check=True)
    return place / "usr/share"


def images(directory: Path) -> dict[str, Images]:
    """The firmware of two releases, by name."""
    old = _unpacked("bookworm", "ovmf", directory) / "OVMF"
    new = _unpacked("trixie", "ovmf", directory) / "OVMF"
    arm = _unpacked("trixie", "qemu-efi-aarch64", directory) / "AAVMF"
    return {
        "2m of 2022": Images(old / "OVMF_CODE.fd", old / "OVMF_VARS.fd"),
        "4m of 2022": Images(old / "OVMF_CODE_4M.fd", old / "OVMF_VARS_4M.fd"),
        "4m of 2025": Images(new / "OVMF_CODE_4M.fd", new / "OVMF_VARS_4M.fd"),
        "4m with Secure Boot of 2025": Images(new / "OVMF_CODE_4M.secboot.fd", new / "OVMF_VARS_4M.ms.fd"),
        "ARM of 2025": Images(arm / "AAVMF_CODE.no-secboot.fd", arm / "AAVMF_VARS.fd", "aarch64"),
    }


def start(firmware: Images, cpu: str, words: tuple[str, ...], directory: Path) -> Seen:
    """Starts QEMU with a network card without an option ROM, until the firmware has shown what it does."""
    variables, console, capture = (directory / name for name in ("variables.fd", "console", "wire.pcap"))
    shutil.copy(firmware.variables, variables)
    command = [f"qemu-system-{firmware.arch}", "-accel", "tcg", "-m", "512", "-nodefaults", "-display", "none", "-no-reboot"]
    smm = ",smm=on" if firmware.code.name == "OVMF_CODE_4M.secboot.fd" else ""
    command += ["-machine", f"{firmware.machine}{smm}", "-cpu", cpu, "-serial", f"file:{console}"]
    command += ["-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={firmware.code}"]
    command += ["-drive", f"if=pflash,unit=1,format=raw,file={variables}"]
    # QEMU's own network, cut off from this machine's.
    command += ["-netdev", "user,id=net0,restrict=on", "-device", "virtio-net-pci,netdev=net0,romfile="]
    command += ["-object", f"filter-dump,id=wire,netdev=net0,file={capture}", *words]
    text = ""
    complaints = directory / "qemu"
    with (
        complaints.open("wb") as stderr,
        kill_on_failure(subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=stderr)) as process,
    ):
        end = time.monotonic() + TIMEOUT
        try:
            while not any(words in text for words in (_PXE, *_NOTHING)) and process.poll() is None and time.monotonic() < end:
                time.sleep(0.1)
                text = console.read_text(errors="replace") if console.exists() else ""
            assert process.poll() is None, f"QEMU ended: {complaints.read_text()}"
            if _PXE in text:
                # The first packet follows the words.
                while capture.stat().st_size <= _EMPTY_CAPTURE and process.poll() is None and time.monotonic() < end:
                    time.sleep(0.1)
        finally:
            process.kill()
    return Seen(_PXE in text, capture.exists() and capture.stat().st_size > _EMPTY_CAPTURE, text[-2000:])
