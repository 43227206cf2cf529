"""The machine that is booted three times from one disk: by QEMU with the IOMMU off, then by its own GRUB, then with its cards moved."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.kernel import hardware
from tests.kernel.cases import REBOOTING
from tests.kernel.image import COMMAND_LINE, ROOT, Images
from tests.kernel.machine import Outcome, Setup, boot

# What makes the kernel and pvehooks take it for a machine with VT-d.
CPU = "max,vendor=GenuineIntel"
FIRST = f"{COMMAND_LINE} bed.machine={REBOOTING} quiet intel_iommu=off"


class Boots:
    """Each boot when somebody asks for it, after those before it. Raises nothing: what came of it, the outcome tells."""

    def __init__(self, images: Images, directory: Path, qemu: Path) -> None:
        self._images = images
        self._qemu = qemu
        self._directory = directory
        self._root = directory / ROOT
        subprocess.run(["cp", "--sparse=always", images.directory / ROOT, self._root], check=True)
        self._outcomes: list[Outcome] = []

    def outcome(self, number: int) -> Outcome:
        """What the machine told in a boot, counted from 0; AssertionError where one before it did not come to its end."""
        while len(self._outcomes) <= number:
            for before in self._outcomes:
                assert not before.trouble(), before.trouble()
            self._outcomes.append(self._boot(len(self._outcomes)))
        return self._outcomes[number]

    def _boot(self, number: int) -> Outcome:
        directory = self._directory / str(number)
        directory.mkdir()
        ports = hardware.REBUILT if number == 2 else hardware.BOUGHT
        setup = Setup(REBOOTING, True, ports, FIRST if number == 0 else None, self._root, CPU, qemu=self._qemu)
        return boot(self._images, directory, setup)

    def close(self) -> None:
        """The disk is large."""
        shutil.rmtree(self._root, ignore_errors=True)
