"""What is worth a word and no more: the node's console, its last keyboard, a TPM that nothing uses."""

from __future__ import annotations

from collections.abc import Iterator

from pvehooks.facts.reading import folders_in
from pvehooks.facts.uses.processes import OpenFiles
from pvehooks.facts.uses.usb import USB_CLASS
from pvehooks.host import Host
from pvehooks.values import PciDevice, Use, Uses
from pvehooks.values.pci import last_pci_address

_DEVICES = "/sys/bus/pci/devices"
_DISPLAY = 0x03
# KEY_Q to KEY_P of the kernel's input-event-codes.h, as bits of the last word of `B: KEY=`.
_LETTERS = sum(1 << key for key in range(16, 26))


class Remarks:
    """Remarks on a device (`Use.remark`): warnings, never a use."""

    def __init__(self, host: Host, files: OpenFiles) -> None:
        self.host = host
        self.files = files
        self._keyboards: list[str] | None = None

    def of(self, device: PciDevice) -> Uses:
        """The remarks on a device; the console's framebuffer outlives a change of drivers, all else ends with vfio."""
        found = [*self._console(device)]
        if device.driver and not device.vfio:
            found += [*self._tpm(device), *self._last_keyboard(device)]
        return Uses(tuple(Use(sentence, remark=True) for sentence in found))

    def _console(self, device: PciDevice) -> Iterator[str]:
        if device.class_code >> 16 != _DISPLAY:
            return
        if device.framebuffer:
            yield f"shows the node's console ({device.framebuffer})"
        elif device.boot_vga and device.driver and not device.vfio:
            yield "shows the node's console (the firmware chose it at boot)"

    def _tpm(self, device: PciDevice) -> Iterator[str]:
        """A TPM on a bus of the device; one that a process has open is a use of its device node."""
        for name in self._tpms(f"{_DEVICES}/{device.address}", 0):
            if not self.files.pids(f"/dev/{name}") and not self.files.pids(f"/dev/{name.replace('tpm', 'tpmrm')}"):
                yield f"has the node's TPM ({name})"

    def _tpms(self, path: str, depth: int) -> Iterator[str]:
        folders = folders_in(self.host, path)
        if "tpm" in folders:
            yield from folders_in(self.host, f"{path}/tpm")
        elif depth < 4:
            for name in folders:
                if name.startswith(("spi", "tpm", "MSFT0101", "STM", "platform", "i2c", "pnp")):
                    yield from self._tpms(f"{path}/{name}", depth + 1)

    def _last_keyboard(self, device: PciDevice) -> Iterator[str]:
        if device.class_code >> 8 != USB_CLASS:
            return
        if self._keyboards is None:
            self._keyboards = list(self._look())
        if self._keyboards and all(address == device.address for address in self._keyboards):
            yield "has the node's only keyboard"

    def _look(self) -> Iterator[str]:
        """The PCI address of each keyboard, '' for one elsewhere (PS/2), by /proc/bus/input/devices."""
        try:
            text = self.host.read("/proc/bus/input/devices").decode("utf-8", "replace")
        except OSError:
            return
        for block in text.split("\n\n"):
            if _is_keyboard(block):
                yield last_pci_address(_field(block, "S: Sysfs="))


def _is_keyboard(block: str) -> bool:
    """Whether a device has the keys of a row of letters: power buttons and mice with keys have the handler kbd too."""
    if "kbd" not in _field(block, "H: Handlers=").split():
        return False
    words = _field(block, "B: KEY=").split()
    try:
        return not words or int(words[-1], 16) & _LETTERS == _LETTERS
    except ValueError:
        return False


def _field(block: str, start: str) -> str:
    return next((line[len(start) :] for line in block.split("\n") if line.startswith(start)), "")
