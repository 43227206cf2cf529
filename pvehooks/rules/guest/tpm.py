"""The TPM of a VM: its version, what Windows 11 asks for, and snapshots."""

from __future__ import annotations

from collections.abc import Iterator

from pvehooks.derived.disks import can_snapshot, format_of, new_volume, volume_of
from pvehooks.rules.engine import RuleSet, not_examined
from pvehooks.rules.guest.uefi import new_efidisk
from pvehooks.values import Finding, Guest, Node, Severity, Unread
from pvehooks.values.storages import Storage

# A template never starts, and cannot be snapshotted: its clones are examined instead.
RULES = RuleSet(
    applies_to=lambda guest: not guest.template and ("tpmstate0" in guest.options or guest.options.get("ostype") == "win11"), order=120
)
# What a node usually has that can snapshot raw volumes.
_BETTER = ("zfspool", "lvmthin", "rbd", "btrfs")


def _version(guest: Guest) -> str:
    """'v1.2' or 'v2.0', '' without a TPM; v1.2 is PVE's default."""
    tpm = guest.properties("tpmstate0")
    return str(tpm.get("version", "v1.2")) if tpm else ""


@RULES.rule(
    "windows-11-unmet",
    Severity.INFO,
    "For Windows 11: qm set {vmid} --bios ovmf --tpmstate0 STORAGE:1,version=v2.0, then"
    " qm set {vmid} --efidisk0 STORAGE:1,efitype=4m,pre-enrolled-keys=1",
)
def windows_11_unmet(guest: Guest, node: Node) -> Iterator[Finding]:
    """A VM of `ostype` win11 without UEFI or without a TPM v2.0: Windows 11 is not installed, nor upgraded, like that.

    Windows Server 2022 and 2025 have the same `ostype` and run without, though BitLocker needs the TPM there too. An installed
    system has to be converted to UEFI first (mbr2gpt). The version of a TPM cannot be changed: a new one has none of the old
    one's keys, so BitLocker's recovery key is needed.
    Source: the administrator's manual, "BIOS and UEFI" and "Trusted Platform Module (TPM)"; Microsoft's requirements of Windows 11.
    """
    version = _version(guest)
    if guest.options.get("ostype") != "win11" or (guest.uefi and version == "v2.0"):
        return
    lacks = [] if guest.uefi else [("UEFI", "SeaBIOS")]
    lacks += [] if version == "v2.0" else [("a TPM v2.0", "a TPM v1.2" if version else "no TPM")]
    asked, has = (" and ".join(words) for words in zip(*lacks, strict=True))
    steps = []
    if version == "v1.2":
        steps.append(f"qm set {guest.vmid} --delete tpmstate0 (its keys are lost)")
    wanted = []
    if not guest.uefi:
        wanted.append("--bios ovmf")
        wanted += [] if "efidisk0" in guest.options else [new_efidisk(guest, secure_boot=True)]
    if version != "v2.0":
        wanted.append(f"--tpmstate0 {new_volume(guest, like='tpmstate0')},version=v2.0")
    steps.append(f"qm set {guest.vmid} {' '.join(wanted)}")
    yield Finding(
        "ostype",
        f"Windows 11 asks for {asked}, and the VM has {has} (Windows Server does not ask)",
        remedy=f"For Windows 11: {', then '.join(steps)}",
    )


@RULES.rule(
    "tpm-version-old", Severity.INFO, "For a v2.0: qm set {vmid} --delete tpmstate0, then qm set {vmid} --tpmstate0 STORAGE:1,version=v2.0"
)
def tpm_version_old(guest: Guest, node: Node) -> Iterator[Finding]:
    """The TPM is of version 1.2, which is what PVE gives when no version is named: current systems hardly use it any more.

    The version cannot be changed. A new TPM has none of the old one's keys: what they encrypt (BitLocker, LUKS bound to the
    TPM) has to be unlocked by other means first.
    Source: the administrator's manual, "Trusted Platform Module (TPM)"; qemu-server, Drive.pm (`version`).
    """
    if _version(guest) == "v1.2" and guest.options.get("ostype") != "win11":
        new = f"qm set {guest.vmid} --tpmstate0 {new_volume(guest, like='tpmstate0')},version=v2.0"
        yield Finding(
            "tpmstate0",
            "the TPM is of the old version 1.2",
            remedy=f"For a v2.0 (the keys in the TPM are lost): qm set {guest.vmid} --delete tpmstate0, then {new}",
        )


@RULES.rule(
    "tpm-not-snapshotable",
    Severity.WARNING,
    "Move it while the VM is shut down: qm disk move {vmid} tpmstate0 STORAGE",
    needs=("storages",),
)
def tpm_not_snapshotable(guest: Guest, node: Node) -> Iterator[Finding]:
    """The VM has snapshots, but its TPM state lies where PVE cannot snapshot it: no further snapshot can be taken.

    A rollback to a snapshot from before the TPM takes the TPM from the VM, and with it the keys of BitLocker. On storage
    that keeps files, and on LVM, only qcow2 can be snapshotted (a TPM state there is raw, unless a recent PVE was set
    otherwise); lvmthin, ZFS, RBD and Btrfs can always.
    Source: pve-storage, volume_has_feature of each plugin; pve-guest-common, AbstractConfig.pm (__snapshot_prepare).
    """
    config = guest.config
    if config is None or not config.snapshots or not guest.properties("tpmstate0"):
        return
    name, volume = volume_of(guest, "tpmstate0")
    form = format_of(guest, "tpmstate0")
    if not name:
        where = f"{volume}, on no storage"
    elif isinstance(node.storages, Unread):
        yield not_examined("tpmstate0", f"whether the TPM state can be snapshotted is unknown: {node.storages.why}")
        return
    else:
        storage = node.storages.get(name)
        # A storage that is not there is another rule's matter.
        if storage is None or can_snapshot(storage, form) is not False:
            return
        where = f"{form} on '{name}' ({storage.type})"
    count = "a snapshot" if len(config.snapshots) == 1 else f"{len(config.snapshots)} snapshots"
    move = f"Move it while the VM is shut down: qm disk move {guest.vmid} tpmstate0 {_better(node)}"
    remedy = move if name else "Put it on a storage that can take snapshots"
    yield Finding(
        "tpmstate0",
        f"the TPM state ({where}) cannot be snapshotted: the VM has {count}, and can get no more",
        remedy=remedy,
    )


def _better(node: Node) -> str:
    """A storage of the node that can snapshot a raw volume, STORAGE where there is none."""
    if isinstance(node.storages, Unread):
        return "STORAGE"
    return next((each.name for each in node.storages.values() if _suits(each, node)), "STORAGE")


def _suits(storage: Storage, node: Node) -> bool:
    return storage.type in _BETTER and storage.serves(node.name) and "images" in storage.options.get("content", "images")
