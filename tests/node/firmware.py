"""Firmware images that say which they are, and QEMU started with them as Proxmox VE starts guests."""

from __future__ import annotations

import json
from pathlib import Path

from tests.node.machine import Done, Machine

IMAGES = "/usr/share/OVMF"
CODE, VARIABLES, WHOLE = f"{IMAGES}/OVMF_CODE_4M.fd", f"{IMAGES}/OVMF_VARS_4M.fd", "/usr/share/ovmf/OVMF.fd"
# What the node has of its own: PVE's words for it come first on QEMU's command line.
NODES_CODE, NODES_WHOLE, EFI_DISK = "/root/node-code.fd", "/root/node-whole.fd", "/root/efidisk.raw"
OUTPUT, SERIAL = "/root/said", "/root/serial"
GUEST = """\
args: -name 'a "b'
bios: ovmf
efidisk0: local:100/vm-100-disk-0.qcow2,efitype=4m,size=528K
machine: q35
meta: creation-qemu=10.1.2,ctime=1800000100
name: app
rng0: source=/dev/urandom
smbios1: uuid=b3247ab1-1fe6-428e-965b-08a1b64a0100
"""
_PACKAGE = """\
mkdir -p /tmp/qemu/DEBIAN
cat >/tmp/qemu/DEBIAN/control <<'END'
Package: pve-qemu-kvm
Version: 10.1.2-4
Architecture: all
Maintainer: nobody <nobody@example.org>
Description: only its name and version
END
dpkg-deb --build /tmp/qemu /tmp/qemu.deb
dpkg --install /tmp/qemu.deb
"""
_MEMORY_MEBIBYTES = 512
# A PC begins 16 bytes before its firmware's end, in real mode, in a segment that is the firmware's last 64 KiB.
_RESET_VECTOR, _PROGRAM = 0xFFF0, 0x8000


def have_qemu(node: Machine) -> None:
    """dpkg knows Proxmox' QEMU as installed."""
    node.sh(_PACKAGE)


def marked(image: bytes, words: str) -> bytes:
    """The image with another first instruction: it prints these words on QEMU's debug console and resets the machine.

    Nothing else of it is changed but what lies in the program's place, which is filled with 0xFF in Debian's images.
    """
    output = b"".join(bytes((0xB0, character, 0xEE)) for character in words.encode())
    # mov dx, 0x402; mov al, CHARACTER; out dx, al; ...; mov al, 0xfe; out 0x64, al; hlt; jmp back to hlt
    program = b"\xba\x02\x04" + output + b"\xb0\xfe\xe6\x64\xf4\xeb\xfd"
    last = bytearray(image[-0x10000:])
    assert set(last[_PROGRAM : _PROGRAM + len(program)]) == {0xFF}
    last[_PROGRAM : _PROGRAM + len(program)] = program
    jump = (_PROGRAM - _RESET_VECTOR - 3) & 0xFFFF
    last[_RESET_VECTOR : _RESET_VECTOR + 3] = b"\xe9" + jump.to_bytes(2, "little")
    return image[:-0x10000] + bytes(last)


def put_marked(node: Machine, original: str, path: str, words: str) -> None:
    """Such an image made of one of Debian's."""
    inside(node, path).write_bytes(marked(inside(node, original).read_bytes(), words))


def inside(node: Machine, path: str) -> Path:
    """A file of the node."""
    return node.root / path.lstrip("/")


def args_of(node: Machine, vmid: int) -> list[str]:
    """The words of the guest's args as PVE gives them to QEMU: split by the same module of Perl's."""
    line = next(line for line in node.read(vmid).splitlines() if line.startswith("args: "))
    script = 'print join("\\0", shellwords($ARGV[0]))'
    return node.run("perl", "-MText::ParseWords", "-e", script, "--", line.removeprefix("args: ")).out.split("\0")


def by_pflash(machine: str = "pc-q35-10.0") -> tuple[list[str], str]:
    """PVE's options for the firmware of a guest with an EFI disk, and its -machine, which it writes behind them."""
    throttle = {"id": "throttle-drive-efidisk0", "limits": {}, "qom-type": "throttle-group"}
    code = {"driver": "raw", "file": {"driver": "file", "filename": NODES_CODE}, "node-name": "pflash0", "read-only": True}
    disk = {"driver": "raw", "file": {"driver": "file", "filename": EFI_DISK}, "size": 540672}
    variables = {"driver": "throttle", "file": disk, "node-name": "drive-efidisk0", "throttle-group": "throttle-drive-efidisk0"}
    words = ["-object", json.dumps(throttle), "-blockdev", json.dumps(code), "-blockdev", json.dumps(variables)]
    return words, f"pflash0=pflash0,pflash1=drive-efidisk0,type={machine}"


def by_drives() -> tuple[list[str], str]:
    """The same for machines of versions before 10.0."""
    code, variables = f"if=pflash,unit=0,format=raw,readonly=on,file={NODES_CODE}", f"if=pflash,unit=1,format=raw,file={EFI_DISK}"
    return ["-drive", code, "-drive", variables], "type=pc-q35-9.2"


def by_bios() -> tuple[list[str], str]:
    """The same for guests with SEV-SNP or TDX, whose memory nothing here can encrypt."""
    return ["-bios", NODES_WHOLE], "type=pc-q35-10.0"


def command(firmware: tuple[list[str], str], args: list[str]) -> list[str]:
    """QEMU's command line: what PVE writes, in its order, then the guest's args."""
    words, machine = firmware
    start = ["qemu-system-x86_64", *words, "-nodefaults", "-display", "none", "-m", str(_MEMORY_MEBIBYTES), "-no-reboot"]
    devices = ["-chardev", f"file,id=said,path={OUTPUT}", "-device", "isa-debugcon,iobase=0x402,chardev=said", "-serial", f"file:{SERIAL}"]
    return [*start, "-accel", "tcg", *devices, "-machine", machine, *args]


def started(node: Machine, firmware: tuple[list[str], str], args: list[str]) -> tuple[Done, str]:
    """Starts QEMU and waits for its end; what it said, and what the firmware said."""
    inside(node, OUTPUT).unlink(missing_ok=True)
    done = node.run("timeout", "240", *command(firmware, args), check=False)
    output = inside(node, OUTPUT)
    return done, output.read_text() if output.exists() else ""


_UNTIL = """
words=$1; shift
rm -f "$SERIAL"
timeout 240 "$@" & pid=$!
until grep -qaF "$words" "$SERIAL" 2>/dev/null; do sleep 0.1; kill -0 $pid || break; done
kill $pid
wait $pid
grep -aF "$words" "$SERIAL"
"""


def booted(node: Machine, firmware: tuple[list[str], str], args: list[str], words: str) -> None:
    """Starts QEMU, and ends it when its serial console shows the words."""
    inside(node, EFI_DISK).write_bytes(inside(node, VARIABLES).read_bytes())
    node.run("sh", "-c", _UNTIL, "sh", words, *command(firmware, args), SERIAL=SERIAL)
