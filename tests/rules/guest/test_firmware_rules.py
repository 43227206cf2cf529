"""The rules on UEFI, TPM and boot order where examples would be too many: spellings, pending changes, snapshots, storages, remedies."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pvehooks.derived.disks import can_snapshot, disks, format_of, volume_of
from pvehooks.facts import hardware
from pvehooks.facts.guests import configs as guests
from pvehooks.facts.storage.images import sha256
from pvehooks.formats import propertystring
from pvehooks.host import Host
from pvehooks.rules.guest import boot_order, tpm, uefi
from pvehooks.values import Finding, Guest, Severity
from pvehooks.values.storages import Storage
from tests.beds.tree import Content, make_fake_tree

CONFIG = "etc/pve/nodes/pve1/qemu-server/100.conf"
SETS = (uefi.RULES, tpm.RULES, boot_order.RULES)
BOOT = {rule.id for rule in boot_order.RULES.rules}
NVME = "sys/bus/pci/devices/0000:01:00.0"
DISK = "scsi0: local-lvm:vm-100-disk-0,size=32G"
NIC = "net0: virtio=BC:24:11:2C:69:EC,bridge=vmbr0"


def guest_in(directory: str | Path, config: str, files: dict[str, Content] | None = None) -> tuple[Guest, list[Finding]]:
    host = Host(str(make_fake_tree(directory, {**(files or {}), CONFIG: config})))
    guest = guests.read(host, "pve1", 100, guests.gather_context(host, "pve1", None))
    node = hardware.gather(host, "pve1")
    asked = [rule for rules in SETS if rules.applies_to(guest) for rule in rules.rules]
    return guest, [rule.complete(finding, 100) for rule in asked for finding in rule.function(guest, node)]


def found_in(directory: Path, config: str, files: dict[str, Content] | None = None) -> dict[str, str]:
    """Severity by rule; no rule says anything twice of one guest."""
    found = guest_in(directory, config, files)[1]
    assert len({finding.rule for finding in found}) == len(found)
    return {finding.rule: finding.severity.value if finding.examined else "not examined" for finding in found}


@pytest.mark.parametrize(
    ("efidisk", "rules"),
    [
        pytest.param("local:vm-1,efitype=4m", set(), id="no keys"),
        pytest.param("file=local:vm-1,efitype=4m", set(), id="named file"),
        pytest.param("efitype=4m,volume=local:vm-1", set(), id="another order, alias"),
        pytest.param("local:vm-1", {"efidisk-type-2m"}, id="no type"),
        pytest.param("local:vm-1,efitype=4m,pre-enrolled-keys=yes", {"efidisk-certificates-old"}, id="yes"),
        pytest.param("local:vm-1,efitype=4m,pre-enrolled-keys=ON", {"efidisk-certificates-old"}, id="upper case"),
        pytest.param("local:vm-1,efitype=4m,pre-enrolled-keys=off", set(), id="off"),
        pytest.param("local:vm-1,efitype=4m,pre-enrolled-keys=1,ms-cert=2011", {"efidisk-certificates-old"}, id="2011"),
        pytest.param("local:vm-1,efitype=4m,pre-enrolled-keys=1,ms-cert=2023", {"efidisk-certificates-old"}, id="2023"),
        pytest.param("local:vm-1,efitype=4m,pre-enrolled-keys=1,ms-cert=2023w", {"efidisk-certificates-old"}, id="2023w"),
        pytest.param("local:vm-1,efitype=4m,pre-enrolled-keys=1,ms-cert=2023k", set(), id="2023k"),
        pytest.param("local:vm-1,efitype=2m,pre-enrolled-keys=1", {"efidisk-type-2m"}, id="keys on 2m are told once"),
        # PVE's reader drops lines with these: there is no EFI disk.
        pytest.param("local:vm-1,efitype=4M", {"efidisk-missing"}, id="upper case type"),
        pytest.param("local:vm-1,efitype=4m,ms-cert=2024", {"efidisk-missing"}, id="unknown certificates"),
        pytest.param("local:vm-1,EFITYPE=4m", {"efidisk-missing"}, id="upper case name"),
        pytest.param("/dev/vg/efi,efitype=4m", {"efidisk-format-unknown"}, id="path"),
        pytest.param("/dev/vg/efi,efitype=4m,format=raw", set(), id="path with format"),
    ],
)
def test_spellings_of_the_efi_disk(efidisk: str, rules: set[str], tmp_path: Path) -> None:
    assert set(found_in(tmp_path, f"bios: ovmf\nboot: order=scsi0\n{DISK}\nefidisk0: {efidisk}\n")) == rules


@pytest.mark.parametrize(
    ("option", "rules"),
    [
        pytest.param("amd-sev: std", set(), id="SEV"),
        pytest.param("amd-sev: type=es,no-debug=1", set(), id="SEV-ES"),
        pytest.param("amd-sev: snp", {"efidisk-on-confidential-guest"}, id="SEV-SNP"),
        pytest.param("intel-tdx: tdx,attestation=0", {"efidisk-on-confidential-guest"}, id="TDX"),
        pytest.param("amd-sev: SNP", {"efidisk-type-2m"}, id="a line that PVE drops"),
    ],
)
def test_confidential_guests_have_one_finding(option: str, rules: set[str], tmp_path: Path) -> None:
    """Whether the EFI disk is old does not matter where it is ignored, or where PVE takes another firmware."""
    assert set(found_in(tmp_path, f"bios: ovmf\nboot: order=scsi0\n{DISK}\nefidisk0: local:vm-1,pre-enrolled-keys=1\n{option}\n")) == rules


def test_confidential_guest_with_seabios(tmp_path: Path) -> None:
    config = f"boot: order=scsi0\n{DISK}\nefidisk0: local:vm-1,efitype=4m\namd-sev: snp\n"
    assert found_in(tmp_path, config) == {"confidential-without-ovmf": "block"}


@pytest.mark.parametrize(
    ("pending", "rules"),
    [
        pytest.param("delete: efidisk0", {"efidisk-missing"}, id="disk deleted"),
        pytest.param("delete: bios", {"efidisk-without-ovmf"}, id="UEFI deleted"),
        pytest.param("efidisk0: local:vm-2", {"efidisk-type-2m"}, id="another disk"),
        pytest.param("boot: order=scsi9;scsi0", {"boot-device-missing"}, id="another order"),
        pytest.param("delete: scsi0", {"nothing-bootable"}, id="disk gone"),
        pytest.param("template: 1", set(), id="template"),
    ],
)
def test_the_next_start_counts(pending: str, rules: set[str], tmp_path: Path) -> None:
    config = f"bios: ovmf\nboot: order=scsi0\n{DISK}\nefidisk0: local:vm-1,efitype=4m\n\n[PENDING]\n{pending}\n"
    assert set(found_in(tmp_path, config)) == rules


def test_what_snapshots_hold_does_not_count(tmp_path: Path) -> None:
    """A snapshot's own options are what once was."""
    old = "\n[old]\nbios: ovmf\nboot: cdn\nostype: win11\nsnaptime: 1700000000\n"
    assert found_in(tmp_path, f"boot: order=scsi0\n{DISK}\n{old}") == {}


@pytest.mark.parametrize("model", ["486", "pentium", "pentium2", "pentium3", "coreduo", "athlon", "kvm32", "qemu32"])
def test_models_of_32_bits(model: str, tmp_path: Path) -> None:
    config = f"boot: order=scsi0\n{DISK}\nefidisk0: local:vm-1,efitype=4m\ncpu: {model}"
    assert found_in(tmp_path / "uefi", f"bios: ovmf\n{config}\n") == {"ovmf-on-32-bit-cpu": "block"}
    assert found_in(tmp_path / "arm", f"bios: ovmf\narch: aarch64\n{config}\n") == {}
    assert "ovmf-on-32-bit-cpu" not in found_in(tmp_path / "bios", f"{config}\n")


@pytest.mark.parametrize("model", ["", "cpu: kvm64\n", "cpu: host\n", "cpu: qemu64\n", "cpu: cputype=x86-64-v3\n", "cpu: core2duo\n"])
def test_models_of_64_bits(model: str, tmp_path: Path) -> None:
    assert found_in(tmp_path, f"bios: ovmf\nboot: order=scsi0\n{DISK}\nefidisk0: local:vm-1,efitype=4m\n{model}") == {}


@pytest.mark.parametrize(
    ("there", "efidisk", "missing"),
    [
        pytest.param("OVMF_CODE_4M.fd OVMF_VARS_4M.fd", "efitype=4m", False, id="new"),
        pytest.param("OVMF_CODE.fd OVMF_VARS.fd", "efitype=4m", True, id="only the old"),
        pytest.param("OVMF_CODE_4M.fd OVMF_VARS_4M.fd", "efitype=2m", True, id="only the new"),
        pytest.param("OVMF_CODE.fd OVMF_VARS.fd", "size=4M", False, id="old"),
        pytest.param("OVMF_CODE.fd", "size=4M", True, id="half"),
        pytest.param("", "efitype=4m", False, id="cannot be listed"),
    ],
)
def test_firmware_that_is_not_installed(there: str, efidisk: str, missing: bool, tmp_path: Path) -> None:
    files: dict[str, Content] = {f"usr/share/pve-edk2-firmware/{name}": "" for name in there.split()}
    config = f"bios: ovmf\nboot: order=scsi0\n{DISK}\nefidisk0: local:vm-1,{efidisk}\n"
    assert ("ovmf-image-missing" in found_in(tmp_path, config, files)) is missing


@pytest.mark.parametrize(("size", "family"), [(0x1E0000, "2m"), (0x37C000, "4m"), (5, "4m")])
def test_a_new_efi_disk_is_one_for_the_image(size: int, family: str, tmp_path: Path) -> None:
    args = "-blockdev node-name=pvehooks-firmware -machine pflash0=pvehooks-firmware"
    image = bytes(size)
    pinned = {"volid": "local:efi-firmware/app.fd", "sha256": sha256(image), "style": "pflash", "args": args, "when": 1, "node": "pve1"}
    record = json.dumps({"version": 1, "uuid": None, "ctime": None, "firmware": {**pinned, "state": "done"}})
    files: dict[str, Content] = {"etc/pve/pvehooks/guests/100.json": record, "var/lib/vz/efi-firmware/app.fd": image}
    found = guest_in(tmp_path, f"bios: ovmf\nboot: order=scsi0\n{DISK}\nargs: {args}\n", files)[1]
    assert [(each.rule, each.remedy.endswith(f"efitype={family}")) for each in found] == [("efidisk-missing", True)]


# -- Windows 11 and the TPM -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "rules"),
    [
        pytest.param("ostype: win11\nbios: ovmf\nefidisk0: local:vm-1,efitype=4m\ntpmstate0: local:vm-2,version=v2.0", set(), id="all"),
        pytest.param("ostype: win11\ntpmstate0: local:vm-2", {"windows-11-unmet"}, id="an old TPM is told once"),
        pytest.param("ostype: win10\ntpmstate0: local:vm-2", {"tpm-version-old"}, id="Windows 10"),
        pytest.param("ostype: l26\ntpmstate0: local:vm-2,version=v1.2", {"tpm-version-old"}, id="Linux"),
        pytest.param("tpmstate0: version=v2.0,file=local:vm-2", set(), id="another order"),
        pytest.param("ostype: win11\ntemplate: 1", set(), id="template"),
    ],
)
def test_windows_and_tpm(options: str, rules: set[str], tmp_path: Path) -> None:
    assert set(found_in(tmp_path, f"boot: order=scsi0\n{DISK}\n{options}\n")) == rules


def storage(kind: str, **options: str) -> Storage:
    return Storage("s", kind, frozenset(), False, False, "", {name.replace("_", "-"): value for name, value in options.items()})


@pytest.mark.parametrize(
    ("kind", "form", "can"),
    [
        ("dir", "raw", False),
        ("dir", "qcow2", True),
        ("dir", "vmdk", False),
        ("nfs", "raw", False),
        ("nfs", "qcow2", True),
        ("cifs", "raw", False),
        ("glusterfs", "qcow2", True),
        ("btrfs", "raw", True),
        ("btrfs", "vmdk", False),
        ("lvm", "raw", False),
        ("lvm", "qcow2", True),
        ("lvmthin", "raw", True),
        ("zfspool", "raw", True),
        ("zfs", "raw", True),
        ("rbd", "raw", True),
        ("iscsi", "raw", False),
        ("iscsidirect", "raw", False),
        ("drbd", "raw", None),
    ],
)
def test_what_can_be_snapshotted(kind: str, form: str, can: bool | None) -> None:
    assert can_snapshot(storage(kind), form) is can
    # The chain of volumes changes how qcow2 is snapshotted, not what can be.
    assert can_snapshot(storage(kind, snapshot_as_volume_chain="1"), form) is can


@pytest.mark.parametrize(
    ("tpm_state", "rules"),
    [
        pytest.param("local:100/vm-100-disk-1.raw", {"tpm-not-snapshotable"}, id="raw file"),
        pytest.param("local:100/vm-100-disk-1.qcow2", set(), id="qcow2"),
        pytest.param("local:50/base-50-disk-1.qcow2/100/vm-100-disk-1.qcow2", set(), id="linked clone"),
        pytest.param("gone:vm-100-disk-1", set(), id="no such storage"),
        pytest.param("/dev/vg/tpm", {"tpm-not-snapshotable"}, id="path"),
    ],
)
def test_snapshots_and_tpm(tpm_state: str, rules: set[str], tmp_path: Path) -> None:
    config = f"boot: order=scsi0\n{DISK}\ntpmstate0: {tpm_state},version=v2.0\n"
    assert set(found_in(tmp_path / "with", f"{config}\n[s1]\nsnaptime: 1700000000\n")) == rules
    assert found_in(tmp_path / "without", f"{config}\n[PENDING]\ntags: x\n") == {}


def test_storages_that_cannot_be_read(tmp_path: Path) -> None:
    files: dict[str, Content] = {"etc/pve/storage.cfg": None}
    config = f"boot: order=scsi0\n{DISK}\ntpmstate0: local:100/vm-100-disk-1.raw,version=v2.0\n\n[s1]\nsnaptime: 1700000000\n"
    assert found_in(tmp_path, config, files) == {"tpm-not-snapshotable": "not examined"}


def test_another_storage_is_offered_only_where_it_serves(tmp_path: Path) -> None:
    cfg = (
        "dir: local\n\tpath /var/lib/vz\n\nzfspool: away\n\tpool a\n\tnodes pve2\n\nlvmthin: off\n\tthinpool a\n\tvgname a\n\tdisable 1\n\n"
        "rbd: roots\n\tpool a\n\tcontent rootdir\n\nzfspool: tank\n\tpool tank\n\tcontent images\n"
    )
    config = f"boot: order=scsi0\n{DISK}\ntpmstate0: local:100/vm-100-disk-1.raw,version=v2.0\n\n[s1]\nsnaptime: 1700000000\n"
    (finding,) = guest_in(tmp_path, config, {"etc/pve/storage.cfg": cfg})[1]
    assert finding.remedy.endswith("qm disk move 100 tpmstate0 tank")


# -- the boot order ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "rules"),
    [
        pytest.param(f"boot: order=scsi0;net0\n{DISK}\n{NIC}", {}, id="ordinary"),
        pytest.param(f"boot: order=scsi0,net0\n{DISK}\n{NIC}", {"boot-disk-not-in-order": "warning"}, id="PVE drops such a line"),
        pytest.param(f"boot: order=SCSI0\n{DISK}", {"nothing-bootable": "warning"}, id="upper case, dropped too"),
        pytest.param(f"boot: c\nbootdisk: scsi0\n{DISK}", {"boot-order-legacy": "info"}, id="a letter"),
        pytest.param(f"boot: legacy=dc\nbootdisk: scsi0\n{DISK}", {"boot-order-legacy": "info"}, id="named letters"),
        pytest.param(f"boot: n\n{DISK}\n{NIC}", {"boot-disk-not-in-order": "info"}, id="network by choice"),
        pytest.param(f"boot: n\n{DISK}", {"nothing-bootable": "warning"}, id="network without a card"),
        pytest.param("boot: order=ide2\nide2: cdrom,media=cdrom", {}, id="the node's drive"),
        pytest.param("boot: order=ide2\nide2: local-lvm:vm-100-cloudinit,media=cdrom", {"nothing-bootable": "info"}, id="cloud-init alone"),
        pytest.param("boot: order=usb0\nusb0: spice", {"nothing-bootable": "info"}, id="SPICE alone"),
        pytest.param(f"boot: order=scsi0;scsi0;net0\n{DISK}\n{NIC}", {}, id="named twice"),
        pytest.param(f"boot: order=net0;ide2\nide2: none,media=cdrom\n{NIC}", {}, id="diskless"),
        pytest.param(f"boot: order=scsi0\nargs: -device nvme,drive=d,bootindex=1\nvirtio0: {DISK[7:]}", {}, id="args"),
        pytest.param(f"boot: order=scsi0\nargs: -cpu host,+x\nvirtio0: {DISK[7:]}", {"nothing-bootable": "warning"}, id="other args"),
        pytest.param(f"boot: order=scsi0;net0\ntemplate: 1\n{NIC}", {}, id="template"),
        pytest.param("", {}, id="empty config"),
    ],
)
def test_boot_orders(config: str, rules: dict[str, str], tmp_path: Path) -> None:
    assert found_in(tmp_path, f"{config}\n" if config else "") == rules


@pytest.mark.parametrize(
    ("config", "rules"),
    [
        pytest.param("boot: order=net0\n", {"boot-nvme-not-in-order": "info"}, id="network"),
        pytest.param("boot: \n", {"boot-nvme-not-in-order": "warning"}, id="nothing else"),
        pytest.param("boot: order=scsi0\n", {"boot-nvme-not-in-order": "warning"}, id="told once"),
        pytest.param("boot: order=scsi0;net0\n", {"boot-nvme-not-in-order": "warning"}, id="instead of a disk that is gone"),
        pytest.param("boot: order=net0;scsi0\n", {"boot-nvme-not-in-order": "info"}, id="network first, then a disk that is gone"),
        pytest.param("boot: order=hostpci0\n", {}, id="in the order"),
        pytest.param(f"boot: order=net0\n{DISK}\n", {"boot-disk-not-in-order": "info"}, id="another disk"),
        pytest.param("boot: order=usb0\nusb0: host=0781:5581\n", {}, id="a USB stick with the boot loader"),
    ],
)
def test_passed_through_nvme(config: str, rules: dict[str, str], tmp_path: Path) -> None:
    assert found_in(tmp_path, f"{NIC}\nhostpci0: 01:00.0\n{config}", {f"{NVME}/class": "0x010802\n"}) == rules


@pytest.mark.parametrize(("order", "rules"), [("net0", {}), ("ide2", {"boot-nvme-not-in-order": "not examined"})])
def test_nvme_not_examined(order: str, rules: dict[str, str], tmp_path: Path) -> None:
    config = f"{NIC}\nide2: none,media=cdrom\nhostpci0: 01:00.0\nboot: order={order}\n"
    assert found_in(tmp_path, config, {"sys/bus/pci/devices": None}) == rules


NAMES = st.sampled_from(["scsi0", "scsi1", "virtio0", "ide2", "sata1", "net0", "net1", "usb0", "hostpci0"])
VALUES = {
    "ide2": st.sampled_from(["none,media=cdrom", "local:iso/a.iso,media=cdrom", "local-lvm:vm-100-cloudinit,media=cdrom"]),
    "net0": st.just("virtio=BC:24:11:2C:69:EC"),
    "net1": st.just("virtio=BC:24:11:2C:69:ED"),
    "usb0": st.sampled_from(["host=0781:5581", "spice"]),
    "hostpci0": st.just("0000:01:00.0"),
}
ORDERS: st.SearchStrategy[list[str]] = st.one_of(
    st.just([]),
    st.lists(NAMES, min_size=1, max_size=5).map(lambda names: [f"boot: order={';'.join(names)}"]),
    st.text("acdn", min_size=1, max_size=4).map(lambda letters: [f"boot: {letters}", "bootdisk: scsi0"]),
    st.just(["boot: "]),
    st.just(["bootdisk: virtio0"]),
)


@st.composite
def configs(draw: st.DrawFn) -> str:
    there = draw(st.sets(NAMES))
    lines = [f"{name}: {draw(VALUES.get(name, st.just(f'local-lvm:vm-100-{name}')))}" for name in sorted(there)]
    bios = draw(st.sampled_from(["bios: seabios", "bios: ovmf"]))
    return "\n".join([*draw(ORDERS), bios, *lines]) + "\n"


@settings(max_examples=50)
@given(configs())
def test_what_the_remedies_name_exists_and_fixes_it(config: str) -> None:
    """PVE takes the order as it is to be typed (it refuses one with devices that do not exist), and then there is nothing more to say."""
    files: dict[str, Content] = {f"{NVME}/class": "0x010802\n"}
    with tempfile.TemporaryDirectory() as directory:
        guest, found = guest_in(f"{directory}/before", config, files)
        found = [finding for finding in found if finding.rule in BOOT]
        orders = [match[1] for finding in found if (match := re.search(r"--boot 'order=(\S+)'", finding.remedy))]
        assert sum(finding.severity is Severity.WARNING for finding in found) <= 1
        assert len(found) <= 2
        for order in orders:
            assert set(order.split(";")) <= guest.options.keys()
            lines = [line for line in config.splitlines() if not line.startswith("boot")]
            after = guest_in(f"{directory}/{order}", "\n".join([f"boot: order={order}", *lines, ""]), files)[1]
            left = {finding.rule for finding in after if finding.rule in BOOT}
            # Whether the network may come first is not what the other rules are about.
            assert left <= (
                {"boot-network-first"} if any(each.rule == "boot-network-first" for each in found) and len(found) > 1 else set()
            )


@pytest.mark.parametrize(
    "config", [DISK, "scsi0: local:100/vm-100-disk-0.qcow2", "ide2: none,media=cdrom", "scsi0: /dev/vg/disk,format=raw"]
)
@pytest.mark.parametrize("rest", ["bios: ovmf", "bios: ovmf\nefidisk0: local:vm-1", "ostype: win11", "tpmstate0: local:vm-1"])
def test_what_is_to_be_typed_is_read(config: str, rest: str, tmp_path: Path) -> None:
    found = guest_in(tmp_path, f"boot: order=scsi0\n{config}\n{rest}\n")[1]
    typed = [pair for finding in found for pair in re.findall(r"--((?:efidisk|tpmstate)0) (\S+)", finding.remedy)]
    assert typed
    for option, value in typed:
        parts = propertystring.parse(option, value)
        assert str(parts["file"]).endswith(":1")
        assert parts.get("efitype", "4m") == "4m"
        assert ("qcow2" in config and option == "efidisk0") is (parts.get("format") == "qcow2")


def test_disks_of_a_guest(tmp_path: Path) -> None:
    config = (
        "scsi10: local:vm-1\nscsi2: local:100/vm-100-disk-0.qcow2\nide0: none\nide2: local:iso/a.iso,media=cdrom\n"
        "virtio0: /dev/vg/x,format=vmdk\nsata0: local:vm-5\nunused0: local:vm-6\nefidisk0: local:vm-7\ntpmstate0: local:vm-8\n"
    )
    guest = guest_in(tmp_path, config)[0]
    assert disks(guest) == ("scsi2", "scsi10", "virtio0", "sata0")
    assert volume_of(guest, "scsi2") == ("local", "100/vm-100-disk-0.qcow2")
    assert volume_of(guest, "virtio0") == ("", "/dev/vg/x")
    assert [format_of(guest, name) for name in disks(guest)] == ["qcow2", "raw", "vmdk", "raw"]
