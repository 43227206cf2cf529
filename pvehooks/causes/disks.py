"""Failed starts: disks, images and storages."""

from __future__ import annotations

from re import Match

from pvehooks.causes.registry import KERNEL, TASK, CauseSet, Rank

CAUSES = CauseSet()
_STORAGE = "pve-storage, PVE/Storage.pm"


@CAUSES.cause(
    "volume-not-there",
    r"volume '(?P<volume>[^']+)' does not exist|no such logical volume (?P<lv>\S+)|can't find file '(?P<file>[^']+)'|Failed to find logical volume \"(?P<other>[^\"]+)\""
    r"|rbd: error opening image (?P<image>[^:\s]+): \(2\)|error reading header from (?P<header>[^:\s]+): No such file|Extent not found for path: (?P<extent>\S+)",
    "See what the storage has: pvesm list STORAGE; if it is an ISO image that is not needed any more: qm set {vmid} --ide2 none,media=cdrom",
    f"{_STORAGE}; lvm2",
    rules=("volume-missing",),
)
def volume_not_there(found: Match[str]) -> str:
    """A disk or an ISO image of the VM is not on its storage: removed, renamed, on another node, or on a disk that is not mounted."""
    return f"{next(filter(None, found.groups()))} does not exist"


@CAUSES.cause(
    "zfs-volume-not-there",
    r"cannot open '(?P<dataset>[^']+)': dataset does not exist|timeout: no zvol device link for '(?P<zvol>[^']+)'|could not activate storage '(?P<storage>[^']+)', zfs error",
    "See the pools: zpool status; the volumes: zfs list -t volume; import a pool that is missing: zpool import",
    "pve-storage, PVE/Storage/ZFSPoolPlugin.pm; zfs",
    rules=("volume-missing", "storage-unavailable"),
)
def zfs_volume_not_there(found: Match[str]) -> str:
    """The pool is not imported, the volume is gone, or its device file does not come: udev has much to do after a boot."""
    return f"ZFS has no usable {found['dataset'] or found['zvol'] or found['storage']}"


@CAUSES.cause(
    "lvm-not-active",
    r"can't activate LV '(?P<lv>[^']+)'|activating LV '(?P<other>[^']+)' failed|Volume group \"(?P<group>[^\"]+)\" not found",
    "See why: lvs -a; vgs; pvs",
    "pve-storage, PVE/Storage/LVMPlugin.pm",
    rank=Rank.PLACE,
    rules=("storage-unavailable",),
)
def lvm_not_active(found: Match[str]) -> str:
    """The logical volume could not be made active: a disk of its volume group is missing, the thin pool needs repair, or another node has it."""
    return f"LVM could not activate {found['lv'] or found['other'] or found['group']}"


@CAUSES.cause(
    "thin-pool-broken",
    r"(?:Check of pool (?P<pool>\S+) failed|thin pool .* (?:needs repair|transaction_id)|Thin pool .* (?:out of (?:meta)?data space|needs_check))",
    "With the VMs on it stopped: lvconvert --repair {pool}; see: lvs -a",
    "lvm2; the kernel's drivers/md/dm-thin.c",
    logs=(TASK, KERNEL),
)
def thin_pool_broken(found: Match[str]) -> str:
    """A thin pool that ran full, or lost power at a bad moment, has to be repaired before its volumes can be used."""
    return "the LVM thin pool is full or needs repair"


@CAUSES.cause(
    "storage-not-known",
    r"storage '(?P<storage>[^']+)' (?:does not exist|is disabled)",
    "Move the disk or make the storage available: pvesm status; one that is disabled: pvesm set {storage} --disable 0",
    _STORAGE,
    rules=("storage-unavailable",),
)
def storage_not_known(found: Match[str]) -> str:
    """A disk of the VM lies on a storage that was removed, renamed or disabled."""
    return f"the storage {found['storage']} is not defined, or disabled"


@CAUSES.cause(
    "storage-not-on-node",
    r"storage '(?P<storage>[^']+)' is not available on node '(?P<node>[^']+)'",
    "Start the VM on a node that has it; or add this node to the storage's nodes: pvesm set {storage} --nodes NODE,NODE",
    _STORAGE,
    rules=("storage-unavailable",),
)
def storage_not_on_node(found: Match[str]) -> str:
    """The file storage.cfg limits the storage to other nodes. VMs meet this after a migration, or since a node was renamed."""
    return f"the storage {found['storage']} is not for the node {found['node']}"


@CAUSES.cause(
    "storage-offline",
    r"storage '(?P<storage>[^']+)' is not online|unable to activate storage '(?P<other>[^']+)'|connection check for storage '(?P<third>[^']+)' failed"
    r"|mount error: .+|mount\.(?:nfs|cifs).*: .+|iSCSI: Failed to connect to LUN|no such volume group '(?P<group>[^']+)'"
    r"|Could not open '(?P<url>(?:iscsi|nbd|rbd|ssh|https?|gluster)(?:\+\w+)?:[^']*)'",
    "See it: pvesm status; is the server reached, is the disk mounted?",
    f"{_STORAGE}; PVE/Storage/Plugin.pm",
    rules=("storage-unavailable",),
)
def storage_offline(found: Match[str]) -> str:
    """The server of the storage does not answer, has no such target or volume, or the disk that its directory lies on is not mounted."""
    if found["url"]:
        return f"the server does not give QEMU {found['url']}"
    name = found["storage"] or found["other"] or found["third"]
    return f"the storage {name} cannot be reached" if name else "a storage could not be mounted"


@CAUSES.cause(
    "ceph-not-reached",
    r"(?:rbd|rados|librados|librbd).*(?:error connecting|couldn't connect to (?:the )?cluster|timed out|authenticate timed out)|error connecting to (?:the )?(?:monitor|cluster)|rbd error: (?!.*opening image).+",
    "See the cluster: ceph -s; why: ceph health detail",
    "ceph, librados; pve-storage, PVE/Storage/RBDPlugin.pm",
)
def ceph_not_reached(found: Match[str]) -> str:
    """The Ceph monitors do not answer, or refuse the key of this storage."""
    return "the Ceph cluster cannot be reached"


@CAUSES.cause(
    "image-locked",
    r"Failed to get (?:shared )?\"(?P<kind>\w+)\" lock|Is another process using the image",
    "See which process has it open: fuser -v FILE; end that one first (a VM that was not stopped, qemu-nbd, a restore)",
    "QEMU, block/file-posix.c",
)
def image_locked(found: Match[str]) -> str:
    """A disk image is open in another process. QEMU lets two write to one image never: it would be destroyed."""
    return "another process has a disk image of the VM open"


@CAUSES.cause(
    "disk-file-not-there",
    r"Could not open '(?P<path>/(?!dev/(?:tty|parport|serial/|usb/))[^']+)': No such (?:file or directory|device or address)|stat for '(?P<other>[^']+)' failed - No such file",
    "See which option names it: qm config {vmid}; names that stay: ls -l /dev/disk/by-id",
    "QEMU, block/file-posix.c; qemu-server, PVE/QemuServer/Blockdev.pm",
    rules=("disk-path-missing", "port-missing"),
)
def disk_file_not_there(found: Match[str]) -> str:
    """The VM's config names a disk or a file by its path, and that is not there: unplugged, renamed by the kernel (sdX), or held by vfio, as
    the controller belongs to a VM."""
    return f"{found['path'] or found['other']} does not exist"


@CAUSES.cause(
    "file-not-permitted",
    r"Could not open '(?P<path>[^']+)': (?P<why>Permission denied|Read-only file system)|Could not reopen file: Permission denied|Block node is read-only",
    "See rights and mount options: findmnt -T PATH; and: namei -l PATH",
    "QEMU, block/file-posix.c",
)
def file_not_permitted(found: Match[str]) -> str:
    """QEMU may not write to the image: the file system is read-only (after an error of the disk the kernel makes it so), the export forbids it, or
    the file is immutable."""
    return f"{found['path'] or 'a disk of the VM'} cannot be written to"


@CAUSES.cause(
    "disk-busy",
    r"Could not open '(?P<path>[^']+)': Device or resource busy",
    "See what uses it: lsblk {path}; which process: fuser -v {path}; then unmount it on the host",
    "QEMU, block/file-posix.c",
    rules=("group-in-use-by-host",),
)
def disk_busy(found: Match[str]) -> str:
    """The host itself uses the disk: a mount, LVM, a RAID array, a pool."""
    return f"{found['path']} is used by the host"


@CAUSES.cause(
    "no-space-left",
    r"No space left on device|Disk quota exceeded",
    "See what is full: df -h; lvs; zfs list",
    "the kernel: ENOSPC",
    rank=Rank.PLACE,
)
def no_space_left(found: Match[str]) -> str:
    """A file system, a pool, or /run is full: QEMU cannot make its sockets, the state of a TPM or a cloud-init image."""
    return "a file system or pool is full"


@CAUSES.cause(
    "image-format",
    r"Image is not in (?P<format>\w+) format|Could not read (?:L1 table|qcow2 header)|qcow2: (?:Image is corrupt|Marking image as corrupt)|Unknown driver '(?P<driver>\w+)'",
    "Check it with the VM stopped: qemu-img check FILE; restore it from a backup where it is damaged",
    "QEMU, block/qcow2.c",
)
def image_format(found: Match[str]) -> str:
    """A disk image is not of the format that the config says, or its own tables are damaged, so QEMU does not write to it."""
    return "a disk image is damaged, or of another format than the config says"


@CAUSES.cause(
    "disk-read-error",
    r"(?:I/O error, dev (?P<device>\w+)|(?P<nvme>nvme\d+): (?:I/O|controller is down|.*timeout))|blk_update_request: I/O error, dev (?P<other>\w+)",
    "See the disk: smartctl -a /dev/DISK; and the kernel's log: journalctl -k -n 100",
    "the kernel's block/blk-core.c",
    logs=(KERNEL,),
    rank=Rank.PLACE,
)
def disk_read_error(found: Match[str]) -> str:
    """A disk of the node reported errors while the VM started; if the VM's volumes are on it, that is why."""
    return f"{found['device'] or found['nvme'] or found['other']} reports input/output errors"


@CAUSES.cause(
    "tpm-not-started",
    r"failed to start swtpm|command 'swtpm(?:_setup)? .*' failed|swtpm exit with status|tpm-emulator: TPM result for CMD_INIT"
    r"|Could not start the TPM 2|Authoring the TPM state failed",
    "See swtpm's own log: less /var/log/swtpm/*; is the volume of tpmstate0 there: pvehooks check {vmid}",
    "qemu-server, PVE/QemuServer.pm (start_swtpm)",
    rules=("volume-missing",),
)
def tpm_not_started(found: Match[str]) -> str:
    """The emulated TPM runs as a process of its own, with its state on a volume of the VM. It did not start: the volume is missing, damaged, or
    open elsewhere."""
    return "the VM's TPM could not be started"


@CAUSES.cause(
    "cloudinit-not-made",
    r"failed to (?:generate|create) cloud-init|genisoimage.*(?:failed|error)|cloud-init.*No such file|can't allocate cloud-?init",
    "See what it is made of: qm cloudinit dump {vmid} user; snippets it names must exist",
    "qemu-server, PVE/QemuServer/Cloudinit.pm",
)
def cloudinit_not_made(found: Match[str]) -> str:
    """Proxmox VE makes the cloud-init image anew at a start, from the config and from snippets that it may name."""
    return "the VM's cloud-init image could not be made"


@CAUSES.cause(
    "virtiofs-not-started",
    r"virtiofsd is not installed|directory mapping invalid: (?P<why>.+)|could not fork to start virtiofsd|cannot create socket - (?P<socket>.+)|Please disable ACLs for virtiofs",
    "See: pvehooks check {vmid}; install it where it is missing: apt install virtiofsd",
    "qemu-server, PVE/QemuServer/Virtiofs.pm",
    rules=("virtiofsd-missing", "virtiofs-mapping-missing", "virtiofs-path-missing"),
)
def virtiofs_not_started(found: Match[str]) -> str:
    """A directory that the VM shares is served by virtiofsd, which is not installed, or does not find the directory."""
    why = found["why"] or found["socket"]
    return f"a shared directory could not be served{': ' + why if why else ''}"


@CAUSES.cause(
    "snapshot-state-not-loaded",
    r"load of migration failed(?:: (?P<why>.+))?|Error -?\d+ while loading VM state|unable to open .*vmstate|Unknown savevm section",
    "Start without the saved memory (what was not written to disk is lost): qm set {vmid} --delete vmstate; then: qm start {vmid}",
    "QEMU, migration/savevm.c",
)
def snapshot_state_not_loaded(found: Match[str]) -> str:
    """The VM was suspended to disk or has a snapshot with memory, and this QEMU or this hardware cannot take that state: another machine
    version, other devices, another processor."""
    return f"the saved memory of the VM does not fit: {found['why'] or 'see the log'}"


@CAUSES.cause(
    "thin-pool-parts-active",
    r"Activation of logical volume (?P<pool>[\w/.+-]+) is prohibited while logical volume (?P<part>[\w/.+-]+) is active",
    "Make the part inactive, then the pool active: lvchange -an {part}; lvchange -ay {pool}",
    "lvm2, lib/activate/activate.c",
)
def thin_pool_parts_active(found: Match[str]) -> str:
    """The pool's data or metadata volume is active alone, mostly since a boot in which the check of the pool took too long or was broken off. LVM does
    not activate the pool over it. Nothing is damaged by that alone."""
    return f"{found['part']} is active alone, so LVM cannot activate the pool {found['pool']}"


@CAUSES.cause(
    "volume-group-twice",
    r"Use --select vg_uuid=<uuid> in place of the VG name|Multiple VGs found with the same name",
    "See both: vgs -o vg_name,vg_uuid,pv_name; rename the one that is not the node's own: vgrename UUID NEWNAME",
    "lvm2, tools/toollib.c",
)
def volume_group_twice(found: Match[str]) -> str:
    """Two disks of the node have volume groups of one name, as when the disk of another Proxmox VE node (its group is named pve too) was put in. LVM does not
    choose between them."""
    return "two LVM volume groups have the same name"


@CAUSES.cause(
    "disk-size-unaligned",
    r"(?:drive=drive-(?P<disk>\w+),[^:]*: Cannot get 'write' permission without 'resize': )?Image size is not a multiple of request alignment",
    "Make the disk larger, to a whole number of MiB: qm disk resize {vmid} DISK SIZE",
    "QEMU, block/io.c",
)
def disk_size_unaligned(found: Match[str]) -> str:
    """The image's size is no multiple of what its storage reads and writes at once, often 4 KiB. Images that were downloaded and imported have such sizes;
    QEMU cannot make them longer while it opens them."""
    return f"the size of the disk {found['disk'] or 'image'} is not a multiple of its storage's block size"


@CAUSES.cause(
    "storage-plugin-missing",
    r"\b(?P<storage>[\w-]{1,40}): unknown iscsi provider|\(skip section '[^']+'\): unsupported type '(?P<type>[^']+)'|Error loading storage plugin \"(?P<plugin>[^\"]+)\""
    r"|ServiceUnknown: The name (?P<service>(?!org\.freedesktop\.)[\w.-]+) was not provided",
    "Install the plugin's package on this node, in a release for this Proxmox VE; then restart what loads it: systemctl restart pvedaemon pveproxy pvestatd pve-ha-lrm",
    "pve-storage, PVE/Storage/ZFSPlugin.pm, PVE/Storage.pm",
)
def storage_plugin_missing(found: Match[str]) -> str:
    """The storage needs a plugin that is not part of Proxmox VE. It is not installed on this node, was replaced by an update of Proxmox VE, or the service that
    starts the VM (high availability has its own) runs since before it was installed."""
    if found["service"]:
        return f"the service {found['service']}, which a storage's plugin asks, is not installed"
    return f"the plugin for the storage {found['storage'] or found['type'] or found['plugin']} is not loaded"


@CAUSES.cause(
    "direct-io-missing",
    r"file ?system (?:may|does) not support O_DIRECT",
    "Choose a cache that does not need it: qm config {vmid}; set it: qm set {vmid} --DISK VOLUME,cache=writeback",
    "QEMU, block/file-posix.c",
)
def direct_io_missing(found: Match[str]) -> str:
    """Without `cache=` Proxmox VE opens disks past the node's page cache (O_DIRECT), which the file system of this storage does not offer: tmpfs, some FUSE and
    network file systems, ZFS before 2.3."""
    return "the file system of a disk does not support direct I/O"


@CAUSES.cause(
    "volume-unsuitable",
    r"content type '(?P<type>[^']+)' is not available on storage '(?P<storage>[^']+)'|unable to use volume (?P<volume>\S+) - content type|storage '(?P<other>[^']+)' does not support content-type '(?P<kind>[^']+)'"
    r"|drive '(?P<drive>[^']+)' - volume .* option different from storage format|is configured for snapshots as a volume chain - this",
    "See what the config and the storage say: qm config {vmid}; the storages: pvesm status; their settings: grep -A9 STORAGE /etc/pve/storage.cfg",
    "qemu-server, PVE/QemuServer.pm, PVE/QemuServer/Drive.pm; pve-storage, PVE/Storage.pm",
)
def volume_unsuitable(found: Match[str]) -> str:
    """The storage does not allow this kind of volume, or the VM's config says another format than the volume has: storage.cfg or the config was edited, or the VM
    has too old a machine version for snapshots as a volume chain."""
    return "a disk of the VM does not fit what its storage or machine version allows"
