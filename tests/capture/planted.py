"""A node with a secret, or a name of somebody's, in every file that is looked at, and a finding on most of them."""

from __future__ import annotations

from tests.beds import boot, pci
from tests.beds.tree import Content, Link

NODE = "mallorca-host-7"
GUESTS = f"etc/pve/nodes/{NODE}/qemu-server"
# What must never be in a capture.
SECRETS = (
    *("hunter2secret", "AAAAB3NzaC1yc2E", "correcthorse", "deadbeefcafebabe01", "s3cr3tTicket", "swordfish9"),
    *("grubsuperpw", "descriptionsecret", "commentsecret", "lxcenvsecret", "poolcomment", "userstoken", "snapshottalk", "smtprelaypw"),
    *("qemupassword", "appendedsecret", "mailaddress", "cifsuserpw", "processsecret"),
)
# What is in a plain one only.
UUIDS = ("3f2b8c1e-9d47-4e21-b6a5-0c1d2e3f4a5b", "7a6b5c4d-1122-4333-8444-99aabbccddee", "5D3E-A1B2")
NAMES = (
    *(
        NODE,
        "Tr0ub4dor",
        "ibiza-host-8",
        "kundenserver",
        "backup-server",
        "acmecorp",
        "lager-volumes",
        "quelle.acme.example",
        "gpu-buchhaltung",
    ),
    *("usb-dongle-chef", "dirshare-verwaltung", "tankstelle", "vgkunden", "lvrechnung", "vor-umzug", "pool-entwicklung", "brdmzintern"),
    *("hapriogruppe", "cpumodellx", "memshareabc", "startskript", "winacme", "dompfad", "isotopia", "labelfoto"),
)
NUMBERS = (
    *("S5Y2NX0R123456", "WD-WCC7K1234567", "bc:24:11:2c:69:ec", "bc24112c69ec", "203.0.113.77", "10.77.12.5"),
    *("2001:db8:77:1::10", "20010db800770001", "iqn.2003-01.org.kunde", "naa.5000c500a1b2c3d4", "5000c500a1b2c3d4", "12345678901234567890"),
    *("AbCdEf-1234-Gh5i-J6kL-7890-MnOp-QrStUv", "AbCdEf1234Gh5iJ6kL7890MnOpQrStUv", "00-1b-21-ff-ff-aa-bb-cc", "0123456789", "9876543210"),
)
DSN = bytes.fromhex("001b21ffffaabbcc")[::-1]
_LVM = "AbCdEf1234Gh5iJ6kL7890MnOpQrStUv"
_GUEST = f"""\
# the password is descriptionsecret%0Aand caf%C3%A9
agent: 1
args: -object secret,id=s0,data=qemupassword -device vfio-pci,host=0000:01:00.0 -drive file=/dev/vgkunden/lvrechnung
bios: ovmf
boot: order=scsi0;hostpci0
ciuser: acmecorp
cipassword: hunter2secret
sshkeys: ssh-rsa%20AAAAB3NzaC1yc2E%20acmecorp%40quelle.acme.example
nameserver: 203.0.113.77
searchdomain: quelle.acme.example
ipconfig0: ip=10.77.12.5/24,gw=10.77.12.1,ip6=2001:db8:77:1::10/64
cores: 4
cpu: custom-cpumodellx
hookscript: lager-volumes:snippets/startskript.sh
hostpci0: mapping=gpu-buchhaltung,pcie=1
hostpci1: 0000:02:00.0
ivshmem: size=32,name=memshareabc
ide2: lager-volumes:iso/winacme.iso,media=cdrom
machine: pc-q35-9.2+pve1
memory: 4096
meta: creation-qemu=9.2.0,ctime=1712345678
name: kundenserver
net0: virtio=BC:24:11:2C:69:EC,bridge=brdmzintern,firewall=1
onboot: 1
ostype: win11
scsi0: lager-volumes:vm-100-disk-0,serial=S5Y2NX0R123456,size=32G
scsi1: /dev/disk/by-id/nvme-Samsung_SSD_S5Y2NX0R123456,size=1T
scsi2: lager-volumes:vm-100-disk-1,serial=9876543210
smbios1: uuid={UUIDS[0]},serial=WD-WCC7K1234567,base64=0
tags: acmecorp;wichtig
unknown-line: Tr0ub4dor
usb0: mapping=usb-dongle-chef
virtiofs0: dirid=dirshare-verwaltung
vmgenid: {UUIDS[1]}

[vor-umzug]
#snapshottalk
cipassword: hunter2secret
name: kundenserver
memory: 2048
snaptime: 1712345679
"""
_CONTAINER = """\
# commentsecret
hostname: backup-server
dev0: /dev/vgkunden/lvrechnung
lxc.environment: PASS=lxcenvsecret
net0: name=eth0,bridge=brdmzintern,hwaddr=BC:24:11:2C:69:EC,ip=10.77.12.5/24
rootfs: lager-volumes:subvol-200-disk-0,size=8G
"""
_STORAGES = """\
# commentsecret
dir: local
\tpath /var/lib/vz
\tcontent iso,vztmpl

dir: lager-volumes
\tpath /srv/tankstelle/dompfad
\tcontent snippets,images

lvm: backup-server
\tvgname vgkunden
\tcontent images

cifs: acmecorp
\tserver 203.0.113.77
\tshare acmecorp
\tusername acmecorp
\tpassword cifsuserpw

pbs: isotopia
\tserver quelle.acme.example
\tdatastore isotopia
\tencryption-key deadbeefcafebabe01
\tfingerprint s3cr3tTicket

iscsi: dompfad
\tportal 10.77.12.5
\ttarget iqn.2003-01.org.kunde:sn.1
"""
_CLUSTER: dict[str, Content] = {
    f"{GUESTS}/100.conf": _GUEST,
    f"{GUESTS}/101.conf": "name: backup-server\nbios: ovmf\nefidisk0: local:101/vm-101-disk-0.raw,efitype=4m,size=528K\nmemory: 1024\nhostpci0: 0000:01:00\nsmbios1: serial=MDEyMzQ1Njc4OQ==,base64=1\n",
    f"etc/pve/nodes/{NODE}/lxc/200.conf": _CONTAINER,
    "etc/pve/nodes/ibiza-host-8/qemu-server/300.conf": "name: kundenserver\n",
    f"etc/pve/nodes/{NODE}/priv/ticket.key": "s3cr3tTicket",
    "etc/pve/priv/authkey.key": "s3cr3tTicket",
    "etc/pve/local": Link(f"nodes/{NODE}"),
    "etc/pve/storage.cfg": _STORAGES,
    "etc/pve/user.cfg": "user:chef@pam:1:0:Chef:Chef:mailaddress@acme.example:userstoken::\npool:pool-entwicklung:poolcomment:100,101:lager-volumes:\n",
    "etc/pve/datacenter.cfg": "email_from: mailaddress@acme.example\nhttp_proxy: http://x:smtprelaypw@quelle.acme.example\nha: shutdown_policy=migrate\n",
    "etc/pve/mapping/pci.cfg": f"gpu-buchhaltung\n\tdescription commentsecret\n\tmap id=10de:2204,node={NODE},path=0000:01:00.0,iommugroup=14\n",
    "etc/pve/mapping/usb.cfg": f"usb-dongle-chef\n\tmap id=1050:0407,node={NODE}\n",
    "etc/pve/mapping/directory.cfg": f"dirshare-verwaltung\n\tmap node={NODE},path=/srv/tankstelle\n",
    "etc/pve/ha/resources.cfg": "vm: 100\n\tgroup hapriogruppe\n\tcomment acmecorp\n\tstate started\n",
    "etc/pve/ha/groups.cfg": f"group: hapriogruppe\n\tnodes {NODE}\n\trestricted 1\n",
    "etc/pve/virtual-guest/cpu-models.conf": "cpu-model: cpumodellx\n\tflags +aes\n\treported-model kvm64\n",
    "etc/pve/corosync.conf": (
        "totem {\n  cluster_name: acmecorp\n}\nnodelist {\n"
        f"  node {{\n    name: {NODE}\n    nodeid: 1\n    ring0_addr: 10.77.12.5\n  }}\n"
        "  node {\n    name: ibiza-host-8\n    nodeid: 2\n    ring0_addr: quelle.acme.example\n  }\n}\n"
    ),
    "etc/pve/.members": f'{{"nodename": "{NODE}", "version": 4, "cluster": {{"name": "acmecorp", "version": 2, "nodes": 2, "quorate": 1}}, '
    f'"nodelist": {{"{NODE}": {{"id": 1, "online": 1, "ip": "10.77.12.5"}}, "ibiza-host-8": {{"id": 2, "online": 1, "ip": "203.0.113.77"}}}}}}\n',
    "etc/pve/.vmlist": f'{{"version": 9, "ids": {{"100": {{"node": "{NODE}", "type": "qemu", "version": 3}}}}}}\n',
    "etc/pve/.version": '{"starttime": 1712345678, "clinfo": 1, "vmlist": 9}\n',
    "etc/pve/pvehooks/pvehooks.conf": "# commentsecret\n[guest 100]\nignore = efidisk-missing: acmecorp wants it so\n",
    "etc/pve/pvehooks/guests/100.json": (
        f'{{"version": 1, "uuid": "{UUIDS[0]}", "ctime": 1712345678, "accepted": {{"{NODE}": {{"hostpci": {{"hostpci1": "0000:02:00.0"}}, "devices": '
        '{"0000:02:00.0": {"class": "010802", "id": "144d:a808", "serial": "S5Y2NX0R123456"}}, "members": ["0000:02:00.0"]}}, '
        '"attachment": {"volid": "lager-volumes:snippets/startskript.sh", "former": "", "when": 1712345678}}\n'
    ),
}
_SYSTEM: dict[str, Content] = {
    "etc/hostname": f"{NODE}\n",
    "etc/hosts": f"# commentsecret\n127.0.0.1 localhost\n10.77.12.5 {NODE}.quelle.acme.example {NODE}\n203.0.113.77 quelle.acme.example\n",
    "etc/network/interfaces": (
        "# commentsecret\nauto brdmzintern\niface brdmzintern inet static\n\taddress 10.77.12.5/24\n\tgateway 10.77.12.1\n\tbridge-ports enp9s0\n"
        "iface wlan0 inet dhcp\n\twpa-psk swordfish9\n"
    ),
    "etc/modprobe.d/vfio.conf": "# commentsecret\noptions vfio-pci ids=10de:2204\nblacklist nouveau\n",
    "etc/pvehooks/bind.d/0000:01:00.0": (
        "words = GPU\nid = 10de:2204\nplace = pci0000:00/0000:01:00.0\nserial = 00-1b-21-ff-ff-aa-bb-cc\ndriver = vfio-pci\n"
    ),
    "etc/lvm/backup/vgkunden": (
        'description = "descriptionsecret"\ncreation_host = "mallorca-host-7"\nvgkunden {\n\tid = "AbCdEf-1234-Gh5i-J6kL-7890-MnOp-QrStUv"\n'
        '\tphysical_volumes {\n\t\tpv0 {\n\t\t\tid = "AbCdEf-1234-Gh5i-J6kL-7890-MnOp-QrStUv"\n\t\t}\n\t}\n\tlogical_volumes {\n\t\tlvrechnung {\n'
        '\t\t\tid = "AbCdEf-1234-Gh5i-J6kL-7890-MnOp-QrStUv"\n'
    ),
    "etc/zfs/zpool.cache": b"\0\0\0\x0alabelfoto!\0\0\0\0\0\x2d/dev/disk/by-id/nvme-Samsung_SSD_S5Y2NX0R123456\0\0\0" + NODE.encode(),
    "srv/tankstelle/dompfad/snippets/startskript.sh": "#!/bin/sh\necho appendedsecret\n",
    "usr/share/kvm/isotopia.rom": "",
    "dev/shm/pve-shm-memshareabc": "appendedsecret",
    "dev/disk/by-id/nvme-Samsung_SSD_S5Y2NX0R123456": Link("../../nvme0n1"),
    "dev/nvme0n1": "",
}
_PROCESSES: dict[str, Content] = {
    "run/qemu-server/101.pid": "815\n",
    "proc/815/comm": "kvm\n",
    "proc/815/cmdline": "\0".join(
        (
            *("/usr/bin/kvm", "-id", "101", "-name", "backup-server,debug-threads=on", "-smbios", f"type=1,uuid={UUIDS[0]}"),
            *("-object", "secret,id=x,data=qemupassword", "-device", "vfio-pci,host=0000:01:00.0,id=hostpci0,x-secret=qemupassword"),
            *("-drive", "file=/dev/vgkunden/lvrechnung,password=qemupassword", "-append", "appendedsecret", ""),
        )
    ),
    "proc/4711/comm": "processsecret\n",
    "proc/4711/cmdline": "mysqld\0--password=processsecret\0",
    "proc/4711/environ": "PASS=processsecret\0",
    "proc/4711/fd/3": Link("/srv/processsecret/file"),
    "proc/4711/fd/4": Link("socket:[1]"),
    "proc/net/unix": "0000: 00000002 00000000 00010000 0001 01 1 @/var/lib/lxc/200/command\n0: 2 0 0 1 01 2 /run/processsecret.sock\n",
    "proc/mounts": (
        "/dev/mapper/vgkunden-lvrechnung / ext4 rw,relatime 0 0\n"
        "//203.0.113.77/acmecorp /mnt/pve/acmecorp cifs rw,username=acmecorp,password=cifsuserpw,domain=dompfad 0 0\n"
    ),
    "proc/self/mountinfo": "22 1 253:0 / / rw,relatime shared:1 - ext4 /dev/mapper/vgkunden-lvrechnung rw,user=processsecret\n",
    "proc/swaps": "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n",
    "proc/net/route": (
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\nbrdmzintern\t000C4D0A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
        "brdmzintern\t00000000\t4D7100CB\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
    ),
    "proc/net/fib_trie": "Main:\n     +-- 10.77.12.0/24 2 0 2\n        |-- 10.77.12.5\n           /32 host LOCAL\n",
    "proc/net/if_inet6": "20010db8007700010000000000000010 02 40 00 80 brdmzintern\n",
    "proc/spl/kstat/zfs/labelfoto/guid": "12345678901234567890\n",
    "proc/spl/kstat/zfs/labelfoto/state": "ONLINE\n",
}
_ROOT = "sys/devices/pci0000:00"
_DEVICES: dict[str, Content] = {
    f"{_ROOT}/0000:04:00.0/ata1/host0/target0:0:0/0:0:0:0/wwid": "naa.5000c500a1b2c3d4\n",
    f"{_ROOT}/0000:04:00.0/ata1/host0/target0:0:0/0:0:0:0/type": "0\n",
    f"{_ROOT}/0000:03:00.0/net/eno1/device": Link("../../../0000:03:00.0"),
    "sys/kernel/mm/ksm/run": "1\n",
    "sys/kernel/mm/ksm/pages_sharing": "100\n",
    f"{_ROOT}/0000:02:00.0/nvme/nvme0/serial": "S5Y2NX0R123456\n",
    f"{_ROOT}/0000:02:00.0/nvme/nvme0/nvme0n1/nvme0n1p1/holders/dm-0": Link("../../../../../../../virtual/block/dm-0"),
    "sys/devices/virtual/block/dm-0/dev": "253:0\n",
    "sys/devices/virtual/block/dm-0/holders": None,
    "sys/devices/virtual/block/dm-0/dm/name": "vgkunden-lvrechnung\n",
    "sys/devices/virtual/block/dm-0/dm/uuid": f"LVM-{_LVM}{_LVM}\n",
    "sys/class/block/dm-0": Link("../../devices/virtual/block/dm-0"),
    "run/udev/data/b259:1": (
        "S:disk/by-id/nvme-Samsung_SSD_S5Y2NX0R123456-part1\nE:ID_FS_TYPE=LVM2_member\nE:ID_FS_UUID=AbCdEf-1234-Gh5i-J6kL-7890-MnOp-QrStUv\n"
        "E:ID_SERIAL=S5Y2NX0R123456\nE:ID_FS_LABEL=labelfoto\n"
    ),
    "run/udev/data/b259:0": "E:ID_FS_TYPE=zfs_member\nE:ID_FS_UUID=12345678901234567890\nE:ID_FS_LABEL=labelfoto\n",
    "run/udev/data/n2": "E:ID_NET_NAME_MAC=enxbc24112c69ec\nE:ID_NET_NAME_PATH=enp3s0\nE:ID_MODEL=processsecret\n",
    f"run/lvm/pvs_online/{_LVM}": "259:1\nvg:vgkunden\n",
    f"{_ROOT}/0000:03:00.0/net/eno1/address": "bc:24:11:2c:69:ec\n",
    f"{_ROOT}/0000:03:00.0/net/eno1/ifindex": "2\n",
    f"{_ROOT}/0000:03:00.0/net/eno1/flags": "0x1003\n",
    f"{_ROOT}/0000:03:00.0/net/eno1/upper_brdmzintern": Link("../../../../virtual/net/brdmzintern"),
    "sys/devices/virtual/net/brdmzintern/lower_eno1": Link("../../../pci0000:00/0000:03:00.0/net/eno1"),
    f"{_ROOT}/0000:03:00.0/net/eno1/master": Link("../../../../virtual/net/brdmzintern"),
    f"{_ROOT}/0000:03:00.0/config": bytes(0x100) + (0x0003 | 1 << 16).to_bytes(4, "little") + DSN + bytes(0xEF4),
    "sys/class/net/eno1": Link("../../devices/pci0000:00/0000:03:00.0/net/eno1"),
    "sys/class/net/brdmzintern": Link("../../devices/virtual/net/brdmzintern"),
    "sys/devices/virtual/net/brdmzintern/flags": "0x1003\n",
    "sys/devices/virtual/net/brdmzintern/address": "bc:24:11:2c:69:ec\n",
    "sys/devices/virtual/net/brdmzintern/bridge/bridge_id": "8000.bc24112c69ec\n",
}
_BOOT: dict[str, Content] = {
    "boot/grub/grub.cfg": (
        'set superusers="root"\npassword_pbkdf2 root grub.pbkdf2.sha512.10000.grubsuperpw\n'
        f"menuentry 'acmecorp' {{\n\tlinux /boot/vmlinuz-{boot.RELEASE} root=UUID={UUIDS[1]} ro quiet acmeflag=acmecorp\n}}\n"
    ),
    "proc/cmdline": f"BOOT_IMAGE=/boot/vmlinuz-{boot.RELEASE} root=UUID={UUIDS[1]} ro quiet password=correcthorse host=acmecorp\n",
    "etc/default/grub": '# commentsecret\nGRUB_DEFAULT=0\nGRUB_CMDLINE_LINUX_DEFAULT="quiet host=acmecorp"\nGRUB_CMDLINE_LINUX=""\n',
    "etc/kernel/proxmox-boot-uuids": "5D3E-A1B2\n",
}
_PCI = """\
0000:01:00.0 class=030000 id=10de:2204 driver=vfio-pci group=14
0000:02:00.0 class=010802 id=144d:a808 driver=nvme group=14 disk=nvme0n1/259:0/S5Y2NX0R123456 part=nvme0n1p1/259:1
0000:03:00.0 class=020000 id=8086:1533 driver=igb group=16 net=eno1
0000:04:00.0 class=010601 id=8086:a352 driver=ahci group=17
"""


def tree() -> dict[str, Content]:
    """The node's files."""
    return {**boot.plant(""), **pci.plant(_PCI), **_CLUSTER, **_SYSTEM, **_PROCESSES, **_DEVICES, **_BOOT}
