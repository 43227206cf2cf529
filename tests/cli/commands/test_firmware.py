"""pvehooks firmware: what it says, and what it refuses, with Debian's own images."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest

from pvehooks.formats.qemuargs import split
from tests.beds import commandline
from tests.beds.tree import make_fake_tree

Golden = Callable[[str, str], None]
CODE, VARIABLES = Path("/usr/share/OVMF/OVMF_CODE_4M.fd"), Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
QEMU = "Package: pve-qemu-kvm\nStatus: install ok installed\nVersion: 10.1.2-4\n\n"
NODES = "etc/pve/nodes"
BASE = "name: app\nbios: ovmf\nmachine: q35\nefidisk0: local:100/vm-100-disk-0.qcow2,efitype=4m,size=528K\n"
VOLID, WHOLE = "local:efi-firmware/app.fd", "local:efi-firmware/whole.fd"


def small() -> bytes:
    """A code image of the 2M family, which Debian 13 has none of any more: the first volume shorter, with a header that says so."""
    code = CODE.read_bytes()
    first = bytearray(code[:0x1AC000])
    (header,) = struct.unpack_from("<H", first, 48)
    struct.pack_into("<Q", first, 32, len(first))
    struct.pack_into("<H", first, 50, 0)
    struct.pack_into("<H", first, 50, -sum(struct.unpack_from(f"<{header // 2}H", first)) & 0xFFFF)
    return bytes(first) + code[0x348000:]


def pvehooks(tree: Path, *arguments: str, status: int = 0) -> str:
    """What the command prints on both streams, paths of the tree shown as ROOT."""
    ended = commandline.pvehooks(*arguments, "--root", str(tree))
    assert ended.status == status, ended.output
    return ended.output.replace(str(tree), "ROOT")


def with_snp(tree: Path) -> str:
    """An image with the metadata that SEV-SNP wants, as Debian 13's have; its volume id."""
    whole = bytearray((tree / "root/whole.fd").read_bytes())
    entry = bytes(4) + struct.pack("<H", 4 + 18) + UUID("dc886566-984a-4798-a75e-5585a7bf67cc").bytes_le
    table = entry + struct.pack("<H", len(entry) + 18) + UUID("96b582de-1fb2-45f7-baea-a366c55a082d").bytes_le
    whole[-32 - len(table) : -32] = table
    (tree / "var/lib/vz/efi-firmware/snp.fd").write_bytes(whole)
    return "local:efi-firmware/snp.fd"


def sections(name: str) -> str:
    return f"node {{\n  name: {name}\n}}\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    guests = {
        100: BASE,
        101: BASE.replace("bios: ovmf\n", ""),
        102: BASE.replace("q35", "pc-q35-9.2"),
        103: f"{BASE.replace('q35', 'pc')}ostype: win11\nmeta: creation-qemu=9.2.0,ctime=1700000000\n",
        104: BASE.replace("efitype=4m,", ""),
        105: f"{BASE}amd-sev: type=snp\n",
        106: f"{BASE}args: -bios /root/own.fd\n",
        107: f"{BASE}args: -name 'x\n",
        108: BASE.replace("efidisk0", "#efidisk0"),
        109: f"{BASE}arch: aarch64\n",
        110: f"{BASE}ostype: l26\nmachine: pc-i440fx-10.0\n".replace("machine: q35\n", ""),
        111: f"{BASE}args: -drive if=pflash,unit=0,file=/root/own.fd\n",
        112: f"{BASE}intel-tdx: type=tdx,attestation=0\n",
    }
    files = {f"{NODES}/pve1/qemu-server/{vmid}.conf": text for vmid, text in guests.items()}
    directory = make_fake_tree(tmp_path / "tree", {**files, "var/lib/vz/snippets/": None, "var/lib/dpkg/status": QEMU, "root/": None})
    shutil.copy(CODE, directory / "root/code.fd")
    (directory / "root/small.fd").write_bytes(small())
    shutil.copy(VARIABLES, directory / "root/app_VARS.fd")
    shutil.copy(CODE, directory / "root/app_CODE.fd")
    (directory / "root/whole.fd").write_bytes(VARIABLES.read_bytes() + CODE.read_bytes())
    return directory


def config(tree: Path, vmid: int) -> str:
    return (tree / f"{NODES}/pve1/qemu-server/{vmid}.conf").read_text()


def imported(tree: Path) -> None:
    """Images as an import leaves them."""
    (tree / "var/lib/vz/efi-firmware").mkdir()
    for file, name in (("code", "app"), ("whole", "whole"), ("small", "small")):
        shutil.copy(tree / f"root/{file}.fd", tree / f"var/lib/vz/efi-firmware/{name}.fd")


def without_digest(text: str) -> str:
    """Another version of Debian's image has another digest, and may carry more metadata."""
    digest = hashlib.sha256(CODE.read_bytes()).hexdigest()
    text = text.replace(digest, f"<sha256 of {CODE.name}>").replace(f"{digest[:12]}...", f"<sha256 of {CODE.name}>...")
    digest = hashlib.sha256(VARIABLES.read_bytes() + CODE.read_bytes()).hexdigest()
    return text.replace(digest, "<sha256 of the whole>")


def test_from_import_to_remove(tree: Path, golden: Golden) -> None:
    printed = []

    def run_logged(*arguments: str, status: int = 0) -> None:
        printed.append(f"$ pvehooks {' '.join(arguments)}\n{pvehooks(tree, *arguments, status=status)}")

    before = config(tree, 100)
    run_logged("firmware", "list")
    run_logged("firmware", "import", "/root/code.fd", "--storage", "local", "--name", "app.fd")
    run_logged("firmware", "import", "/root/code.fd", "--storage", "local", "--name", "app.fd")
    run_logged("firmware", "import", "/root/small.fd", "--storage", "local", "--name", "app.fd", status=1)
    run_logged("firmware", "set", "100", VOLID)
    run_logged("firmware", "list")
    run_logged("firmware", "verify")
    run_logged("firmware", "remove", VOLID, status=1)
    image = tree / "var/lib/vz/efi-firmware/app.fd"
    assert image.stat().st_mode & 0o7777 == 0o444
    image.write_bytes(image.read_bytes()[:-1] + b"\x91")
    printed.append("(a byte of the image is changed)\n")
    changed = pvehooks(tree, "firmware", "verify", status=1)
    assert "not the image that VM 100 (app) was given: its sha256 is" in changed
    run_logged("firmware", "unset", "100")
    assert config(tree, 100) == before
    run_logged("firmware", "unset", "100", status=1)
    run_logged("firmware", "remove", VOLID)
    run_logged("firmware", "remove", VOLID, status=1)
    golden("cli/firmware.txt", without_digest("".join(printed)))


def test_info(tree: Path, golden: Golden) -> None:
    shown = pvehooks(tree, "firmware", "info", "/root/code.fd")
    assert "code only" in shown
    assert "efitype=4m" in shown
    assert "ordinary, SEV, SEV-ES" in shown
    golden("cli/firmware-info-no-firmware.txt", pvehooks(tree, "firmware", "info", f"/{NODES}/pve1/qemu-server/100.conf", status=1))
    assert "variables only" in pvehooks(tree, "firmware", "info", "/root/app_VARS.fd")
    assert '"kind": "whole"' in pvehooks(tree, "firmware", "info", "/root/whole.fd", "--json")


@pytest.mark.parametrize(
    ("name", "arguments", "status"),
    [
        ("no-storage", ["import", "/root/code.fd"], 2),
        ("other-storage", ["import", "/root/code.fd", "--storage", "nfs1"], 2),
        ("bad-name", ["import", "/root/code.fd", "--storage", "local", "--name", "a,b"], 2),
        ("variables", ["import", "/root/app_VARS.fd", "--storage", "local"], 1),
        ("absent", ["import", "/root/none.fd", "--storage", "local"], 3),
        ("seabios", ["set", "101", VOLID], 1),
        ("old-machine", ["set", "102", VOLID], 1),
        ("windows", ["set", "103", VOLID], 1),
        ("other-family", ["set", "104", VOLID], 1),
        ("small-image", ["set", "100", "local:efi-firmware/small.fd"], 1),
        ("code-for-snp", ["set", "105", VOLID], 1),
        ("code-for-tdx", ["set", "112", VOLID], 1),
        ("whole-for-pflash", ["set", "100", WHOLE], 1),
        ("own-bios", ["set", "106", VOLID], 1),
        ("own-pflash", ["set", "111", VOLID], 1),
        ("unclosed-args", ["set", "107", VOLID], 1),
        ("no-efi-disk", ["set", "108", VOLID], 1),
        ("other-arch", ["set", "109", VOLID], 1),
        ("missing-image", ["set", "100", "local:efi-firmware/none.fd"], 1),
        ("no-volume", ["set", "100", "local:iso/app.iso"], 2),
        ("set-nothing", ["set", "100"], 2),
        ("wrong-option", ["set", "100", VOLID, "--name", "x"], 2),
        ("migrate", ["migrate", "100"], 1),
        ("no-such-guest", ["unset", "999"], 3),
    ],
)
def test_refused(name: str, arguments: list[str], status: int, tree: Path, golden: Golden) -> None:
    if VOLID in arguments or WHOLE in arguments or "small-image" in name:
        imported(tree)
    before = {vmid: config(tree, vmid) for vmid in range(100, 113)}
    golden(f"cli/firmware-{name}.txt", pvehooks(tree, "firmware", *arguments, status=status))
    assert {vmid: config(tree, vmid) for vmid in range(100, 113)} == before
    assert not (tree / "etc/pve/pvehooks/guests").exists()


@pytest.mark.parametrize(
    ("machine", "remedy"),
    [
        ("machine: pc-q35-9.2,viommu=virtio", "qm set 100 --machine pc-q35-10.0,viommu=virtio"),
        ("machine: pc-i440fx-5.1", "qm set 100 --machine pc-i440fx-10.0"),
        ("machine: q35\nostype: win11\nmeta: creation-qemu=9.0.0,ctime=1700000000", "qm set 100 --machine pc-q35-10.0"),
    ],
)
def test_what_to_type_keeps_the_rest_of_the_machine(machine: str, remedy: str, tree: Path) -> None:
    imported(tree)
    (tree / f"{NODES}/pve1/qemu-server/100.conf").write_text(BASE.replace("machine: q35", machine))
    assert pvehooks(tree, "firmware", "set", "100", VOLID, status=1).splitlines()[1].endswith(f": {remedy}")


def test_what_to_type_against_a_firmware_of_its_own(tree: Path) -> None:
    """Typed into a shell it leaves the other words."""
    imported(tree)
    args = "-name 'it \"s' -M q35,pflash0=mine -m 5"
    (tree / f"{NODES}/pve1/qemu-server/100.conf").write_text(f"args: {args}\n{BASE}")
    hint = pvehooks(tree, "firmware", "set", "100", VOLID, status=1).splitlines()[1].partition("first: ")[2]
    typed = subprocess.run(["sh", "-c", f'qm() {{ printf %s "$4"; }}; {hint}'], capture_output=True, text=True, check=True).stdout
    assert split(typed) == ("-name", 'it "s', "-m", "5")


@pytest.mark.parametrize("vmid", [100, 105], ids=["ordinary", "SEV-SNP"])
def test_a_clone_is_given_it_once(vmid: int, tree: Path) -> None:
    """It has the args of its original, and no record."""
    imported(tree)
    volid = VOLID if vmid == 100 else WHOLE
    if vmid == 105 and '"snp": false' in pvehooks(tree, "firmware", "info", "/root/whole.fd", "--json"):
        volid = with_snp(tree)
    pvehooks(tree, "firmware", "set", str(vmid), volid)
    args = config(tree, vmid).splitlines()[0]
    shutil.rmtree(tree / "etc/pve/pvehooks/guests")
    assert "firmware-not-pinned" in pvehooks(tree, "check", str(vmid), status=0)
    assert "the args of VM" in pvehooks(tree, "firmware", "verify")
    pvehooks(tree, "firmware", "set", str(vmid), volid)
    assert config(tree, vmid).splitlines()[0] == args
    assert "firmware-not-pinned" not in pvehooks(tree, "check", str(vmid))
    pvehooks(tree, "firmware", "unset", str(vmid))
    assert "args:" not in config(tree, vmid)


def test_two_imports_at_once(tree: Path) -> None:
    """One of two images gets the name, the other is told; nothing is left beside it."""
    for _ in range(3):
        command = ["/usr/bin/python3", "-m", "pvehooks", "firmware", "import", "--storage", "local", "--name", "x.fd", "--root", str(tree)]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
        both = [
            subprocess.Popen([*command, f"/root/{name}.fd"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            for name in ("code", "small")
        ]
        printed = [process.communicate(timeout=60)[1].decode() for process in both]
        assert sorted(process.returncode for process in both) == [0, 1], printed
        assert "another image has this name" in "".join(printed)
        images = list((tree / "var/lib/vz/efi-firmware").iterdir())
        assert [image.name for image in images] == ["x.fd"]
        assert images[0].read_bytes() in (CODE.read_bytes(), small())
        images[0].unlink()


def test_what_an_import_that_was_killed_has_left(tree: Path) -> None:
    imported(tree)
    old, new = (tree / f"var/lib/vz/efi-firmware/x.fd.tmp.{number}" for number in (12, 13))
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    assert "tmp" not in pvehooks(tree, "firmware", "list")
    pvehooks(tree, "firmware", "import", "/root/code.fd", "--storage", "local", "--name", "x.fd")
    assert (old.exists(), new.exists()) == (False, True)


def test_what_is_no_image_among_them(tree: Path) -> None:
    imported(tree)
    folder = tree / "var/lib/vz/efi-firmware"
    os.mkfifo(folder / "pipe")
    (folder / "link").symlink_to("app.fd")
    (folder / "folder").mkdir()
    (folder / "text").write_text("name: x\n")
    (folder / "app.fd").chmod(0o666)
    printed = pvehooks(tree, "firmware", "verify", status=1)
    for name, words in (("pipe", "no regular file"), ("link", "a symbolic link"), ("folder", "no regular file"), ("text", "no firmware")):
        assert words in next(line for line in printed.splitlines() if f"/{name}:" in line)
        assert pvehooks(tree, "firmware", "set", "100", f"local:efi-firmware/{name}", status=1)
    refused = pvehooks(tree, "firmware", "set", "100", VOLID, status=1)
    assert "can be written by others than root" in refused and "chmod 444" in refused
    pvehooks(tree, "firmware", "remove", "local:efi-firmware/link")
    assert (folder / "app.fd").exists() and not (folder / "link").is_symlink()


def test_a_versioned_machine_of_ten_will_do(tree: Path) -> None:
    imported(tree)
    pvehooks(tree, "firmware", "set", "110", VOLID)
    assert "pflash0=pvehooks-firmware" in config(tree, 110)


def test_an_old_qemu_is_refused(tree: Path, golden: Golden) -> None:
    imported(tree)
    (tree / "var/lib/dpkg/status").write_text(QEMU.replace("10.1.2-4", "9.2.0-7"))
    golden("cli/firmware-old-qemu.txt", pvehooks(tree, "firmware", "set", "100", VOLID, status=1))


def cluster(tree: Path, ha: str = "") -> None:
    imported(tree)
    (tree / NODES / "pve2/qemu-server").mkdir(parents=True)
    (tree / "etc/pve/corosync.conf").write_text(f"nodelist {{\n{sections('pve1')}{sections('pve2')}}}\n")
    if ha:
        (tree / "etc/pve/ha").mkdir()
        (tree / "etc/pve/ha/resources.cfg").write_text(ha)


def test_other_nodes_are_named(tree: Path) -> None:
    cluster(tree)
    assert "import it there (pve2)" in pvehooks(tree, "firmware", "set", "100", VOLID, "--node", "pve1")


def test_ha_needs_it_everywhere(tree: Path, golden: Golden) -> None:
    cluster(tree, "vm: 100\n\tstate started\n")
    golden("cli/firmware-ha.txt", pvehooks(tree, "firmware", "set", "100", VOLID, "--node", "pve1", status=1))
    assert "from now on" in pvehooks(tree, "firmware", "set", "100", VOLID, "--on-all-nodes", "--node", "pve1")


def test_ha_beyond_the_storage(tree: Path, golden: Golden) -> None:
    cluster(tree, "vm: 100\n\tstate started\n")
    (tree / "etc/pve/storage.cfg").write_text("dir: fw\n\tpath /var/lib/vz\n\tnodes pve1\n\tcontent images\n")
    golden("cli/firmware-ha-storage.txt", pvehooks(tree, "firmware", "set", "100", "fw:efi-firmware/app.fd", "--node", "pve1", status=1))


def test_a_snapshot_that_names_an_image_uses_it(tree: Path) -> None:
    imported(tree)
    file = tree / f"{NODES}/pve1/qemu-server/101.conf"
    file.write_text(f"{file.read_text()}parent: before\n\n[before]\nargs: -bios /var/lib/vz/efi-firmware/whole.fd\nsnaptime: 1700000000\n")
    printed = pvehooks(tree, "firmware", "remove", WHOLE, status=1)
    assert "is used by VM 101" in printed
    assert "qm listsnapshot 101" in printed
    assert "firmware unset" not in printed


def test_json(tree: Path) -> None:
    imported(tree)
    given = json.loads(pvehooks(tree, "firmware", "set", "100", VOLID, "--json"))
    assert (given["vmid"], given["volid"], given["style"], given["pending"]) == (100, VOLID, "pflash", False)
    listed = json.loads(pvehooks(tree, "firmware", "list", "--json"))["images"]
    assert [image["used_by"] for image in listed if image["volid"] == VOLID] == [[{"vmid": 100, "node": "pve1", "how": "set"}]]
    assert json.loads(pvehooks(tree, "firmware", "verify", "--json"))["images"][0]["trouble"] == ""
    assert json.loads(pvehooks(tree, "firmware", "unset", "100", "--json"))["guests"][0]["args"] is None
    assert json.loads(pvehooks(tree, "firmware", "remove", VOLID, "--json"))["removed"] == [VOLID]
