"""Property strings: what PVE takes apart, and what it refuses."""

import pytest

from pvehooks.formats.propertystring import PropertyError, parse, parse_format
from pvehooks.formats.schema import OPTIONS, PROPERTY_STRINGS
from pvehooks.values import Value

MAC = "BC:24:11:00:00:01"
UUID = "7b10d7af-b932-4c66-b2c3-3996152ec465"

ACCEPTED: list[tuple[str, str, dict[str, Value]]] = [
    ("agent", "1", {"enabled": 1}),
    ("agent", "0,fstrim_cloned_disks=yes,type=isa", {"enabled": 0, "fstrim_cloned_disks": 1, "type": "isa"}),
    ("agent", "enabled=off,1", {"enabled": 1}),
    ("agent", "1,freeze-fs-on-backup=0", {"enabled": 1, "freeze-fs": 0}),
    ("agent", "1,guest-fsfreeze=no", {"enabled": 1, "freeze-fs": 0}),
    ("amd-sev", "es,no-debug=1", {"type": "es", "no-debug": 1}),
    ("audio0", "device=ich9-intel-hda,driver=none", {"device": "ich9-intel-hda", "driver": "none"}),
    ("boot", "order=scsi0;net0", {"order": "scsi0;net0"}),
    ("boot", "order=;", {"order": ";"}),
    ("boot", "cdn", {"legacy": "cdn"}),
    ("boot", "legacy=n,order=net0", {"legacy": "n", "order": "net0"}),
    ("boot", " ", {}),
    ("cdrom", "none,media=cdrom", {"file": "none", "media": "cdrom"}),
    ("cicustom", "user=local:snippets/user.yml", {"user": "local:snippets/user.yml"}),
    ("cpu", "host,flags=+aes;-pcid,hidden=1", {"cputype": "host", "flags": "+aes;-pcid", "hidden": 1}),
    ("cpu", "custom-mine,phys-bits=host,level=30", {"cputype": "custom-mine", "phys-bits": "host", "level": "30"}),
    (
        "efidisk0",
        "local:100/efi.raw,efitype=4m,pre-enrolled-keys=1,size=528K,ms-cert=2023k",
        {"file": "local:100/efi.raw", "efitype": "4m", "pre-enrolled-keys": 1, "size": "528K", "ms-cert": "2023k"},
    ),
    ("hostpci0", "01:00", {"host": "01:00"}),
    ("hostpci15", "host=0000:01:00.0;10000:e1:00.a,pcie=1", {"host": "0000:01:00.0;10000:e1:00.a", "pcie": 1}),
    ("hostpci0", "mapping=gpu-1,x-vga=on,romfile=a b.rom", {"mapping": "gpu-1", "x-vga": 1, "romfile": "a b.rom"}),
    ("hostpci0", "01:00,mdev=nvidia-35,vendor-id=0x10De", {"host": "01:00", "mdev": "nvidia-35", "vendor-id": "0x10De"}),
    ("hostpci0", "rombar=0", {"rombar": 0}),
    ("intel-tdx", "tdx,attestation=0,vsock-cid=3", {"type": "tdx", "attestation": 0, "vsock-cid": "3"}),
    ("ipconfig0", "ip=10.0.0.2/24,gw=10.0.0.1,ip6=auto", {"ip": "10.0.0.2/24", "gw": "10.0.0.1", "ip6": "auto"}),
    ("ipconfig0", "ip=1.2.3.4/032", {"ip": "1.2.3.4/032"}),
    ("ivshmem", "size=32,name=foo", {"size": "32", "name": "foo"}),
    ("machine", "q35", {"type": "q35"}),
    ("machine", "pc-q35-9.2+pve1,viommu=virtio,aw-bits=4.8e1", {"type": "pc-q35-9.2+pve1", "viommu": "virtio", "aw-bits": "4.8e1"}),
    ("machine", "enable-s3=1", {"enable-s3": 1}),
    ("memory", "2048", {"current": "2048"}),
    ("memory", "current=0,512", {"current": "512"}),
    ("meta", "creation-qemu=9.0.2,ctime=1725975013", {"creation-qemu": "9.0.2", "ctime": "1725975013"}),
    ("net0", f"virtio={MAC},bridge=vmbr0", {"model": "virtio", "macaddr": MAC, "bridge": "vmbr0"}),
    ("net0", "e1000", {"model": "e1000"}),
    ("net0", f"model=vmxnet3,macaddr={MAC},tag=10", {"model": "vmxnet3", "macaddr": MAC, "tag": "10"}),
    ("net0", "virtio,trunks=1-5;9,mtu=1,queues=0,rate=.5", {"model": "virtio", "trunks": "1-5;9", "mtu": "1", "queues": "0", "rate": ".5"}),
    ("net0", "model=0,virtio", {"model": "virtio"}),
    ("net0", ",virtio,,", {"model": "virtio"}),
    ("numa0", "cpus=0-3;5,hostnodes=0,memory=1024,policy=bind", {"cpus": "0-3;5", "hostnodes": "0", "memory": "1024", "policy": "bind"}),
    ("rng0", "/dev/urandom", {"source": "/dev/urandom"}),
    ("rng0", "source=/dev/hwrng,max_bytes=-1,period=+1000", {"source": "/dev/hwrng", "max_bytes": "-1", "period": "+1000"}),
    ("sata0", "/dev/sda,wwn=0x0123456789abcdef,ssd=1", {"file": "/dev/sda", "wwn": "0x0123456789abcdef", "ssd": 1}),
    ("scsi0", "volume=lvm:vm-100-disk-0,product=A b-1", {"file": "lvm:vm-100-disk-0", "product": "A b-1"}),
    ("scsi0", "lvm:vm-100-disk-0,bps_rd_length=5", {"file": "lvm:vm-100-disk-0", "bps_rd_max_length": "5"}),
    ("smbios1", f"uuid={UUID},manufacturer=QUJD,base64=1", {"uuid": UUID, "manufacturer": "QUJD", "base64": 1}),
    ("spice_enhancements", "foldersharing=1,videostreaming=all", {"foldersharing": 1, "videostreaming": "all"}),
    ("startup", "order=1,up=2,down=3", {"order": "1", "up": "2", "down": "3"}),
    ("startup", "5, ,up=1,up=2", {"order": "5", "up": "2"}),
    ("startup", "order=0", {"order": "0"}),
    ("tpmstate0", "local:100/tpm.raw,size=4M,version=v2.0", {"file": "local:100/tpm.raw", "size": "4M", "version": "v2.0"}),
    ("unused255", "local:100/x.raw", {"file": "local:100/x.raw"}),
    ("usb0", "host=1234:abCD,usb3=1", {"host": "1234:abCD", "usb3": 1}),
    ("usb13", "0x1234:0xabcd", {"host": "0x1234:0xabcd"}),
    ("usb0", "1-2.3.4", {"host": "1-2.3.4"}),
    ("usb0", "sPiCe", {"host": "sPiCe"}),
    ("usb0", "mapping=stick", {"mapping": "stick"}),
    ("vga", "qxl2,memory=32", {"type": "qxl2", "memory": "32"}),
    ("virtio0", "file=/dev/disk/by-id/x=y", {"file": "/dev/disk/by-id/x=y"}),
    ("virtiofs9", "share,cache=never,expose-acl=1", {"dirid": "share", "cache": "never", "expose-acl": 1}),
    ("virtio0", "/dev/sda,", {"file": "/dev/sda"}),
    ("watchdog", "action=reset", {"action": "reset"}),
]


@pytest.mark.parametrize("option, text, parts", ACCEPTED)
def test_accepted(option: str, text: str, parts: dict[str, Value]) -> None:
    assert parse(option, text) == parts


REFUSED = [
    ("agent", "type=virtio", "enabled is missing"),
    ("agent", "1,freeze-fs=1,guest-fsfreeze=0", "freeze-fs is given twice"),
    ("agent", "2", "enabled is not a boolean: '2'"),
    ("agent", "1,1", "enabled is given twice"),
    ("amd-sev", "no-debug=1", "type is missing"),
    ("audio0", "spice", "'spice' has no key"),
    ("boot", "order=scsi0,order=net0", "order is given twice"),
    ("boot", "order=efidisk0", "order is not a list of bootable devices: 'efidisk0'"),
    ("boot", "cdnac", "legacy is not 1 to 4 of the letters a, c, d, n: 'cdnac'"),
    ("cpu", "flags=+aes", "cputype is missing"),
    ("cpu", "host,flags=+avx", "flag '+avx' is for custom models only"),
    ("cpu", "host,flags=aes", "flags is not a list of CPU flags (+FLAG;-FLAG): 'aes'"),
    ("cpu", "host,reported-model=kvm64", "reported-model is for custom models only"),
    ("cpu", "host,phys-bits=65", "phys-bits is not 'host' or a number from 8 to 64: '65'"),
    ("cpu", "host,level=4294967296", "level is more than 4294967295: '4294967296'"),
    ("efidisk0", "efitype=4m", "file is missing"),
    ("hostpci0", "1:0", "host is not a list of PCI addresses: '1:0'"),
    ("hostpci0", "01:00;", "host is not a list of PCI addresses: '01:00;'"),
    ("hostpci0", "01:00,02:00", "host is given twice"),
    ("hostpci0", "01:00,ROMBAR=1", "unknown property 'ROMBAR'"),
    ("hostpci0", "mapping=1gpu", "mapping is not an ID (a letter, then letters, digits, - or _): '1gpu'"),
    ("intel-tdx", "tdx", "attestation is missing"),
    ("ipconfig0", "gw=10.0.0.1", "gw needs ip"),
    ("ipconfig0", "ip=10.0.0.2", "ip is not an IPv4 network, dhcp or manual: '10.0.0.2'"),
    ("ipconfig0", "ip6=fd00::1/129", "ip6 is not an IPv6 network, auto, dhcp or manual: 'fd00::1/129'"),
    ("machine", "pc-9", "type is not a machine type: 'pc-9'"),
    ("machine", "pc-q35-" + "1." * 20 + "1", "type is longer than 40 bytes"),
    ("memory", "8", "current is less than 16: '8'"),
    ("memory", " ", "current is missing"),
    ("memory", "512,512", "current is given twice"),
    ("net0", "bridge=vmbr0", "model is missing"),
    ("net0", f"virtio={MAC},e1000={MAC}", "macaddr is given twice"),
    ("net0", f"virtio={MAC},macaddr={MAC}", "macaddr is given twice"),
    ("net0", f"virtio,e1000={MAC}", "model is given twice"),
    ("net0", "virtio=01:00:00:00:00:00", "macaddr is not a unicast MAC address: '01:00:00:00:00:00'"),
    ("net0", "virtio ,bridge=vmbr0", "model is not one of"),
    ("net0", "virtio, bridge=vmbr0", "unknown property ' bridge'"),
    ("net0", "virtio,bridge=", "'bridge=' has no value"),
    ("net0", "virtio,=vmbr0", "'=vmbr0' has no key"),
    ("net0", "virtio,tag=4095", "tag is more than 4094: '4095'"),
    ("net0", "virtio,queues=1.5", "queues is not an integer: '1.5'"),
    ("numa0", "memory=5", "cpus is missing"),
    ("rng0", "max_bytes=1", "source is missing"),
    ("sata0", "/dev/sda,iothread=1", "unknown property 'iothread'"),
    ("scsi0", "disk.raw", "file is not a volume id, an absolute path, none or cdrom: 'disk.raw'"),
    ("scsi0", "local:x,volume=local:y", "file is given twice"),
    ("scsi0", "local:x,serial=" + "a" * 61, "serial is longer than 60 bytes"),
    ("smbios1", "family=a b", "family is not base64: 'a b'"),
    ("startup", "0", "'0' is not a start-up order"),
    ("startup", "first", "'first' is not a start-up order"),
    ("tpmstate0", "local:x,format=qed", "format is not one of raw, qcow2, vmdk: 'qed'"),
    ("usb0", "1234", "host is not a USB device, a USB port or spice: '1234'"),
    ("vga", "std,memory=3", "memory is less than 4: '3'"),
    ("virtio0", "/dev/disk/by-id/x=y", "unknown property '/dev/disk/by-id/x'"),
    ("virtiofs0", "cache=auto", "dirid is missing"),
    ("name", "a", "'name' is not a property string"),
    ("nonsense", "a", "'nonsense' is not a property string"),
]


@pytest.mark.parametrize("option, text, message", REFUSED)
def test_refused(option: str, text: str, message: str) -> None:
    with pytest.raises(PropertyError) as refusal:
        parse(option, text)
    assert str(refusal.value).startswith(message)


def test_again_is_the_same() -> None:
    """Short parts are remembered."""
    for _ in range(2):
        assert parse("net0", "virtio,firewall=1") == {"model": "virtio", "firewall": 1}
        with pytest.raises(PropertyError, match="firewall is given twice"):
            parse("net0", "virtio,firewall=1,firewall=1")


def test_what_is_remembered_stays_bounded() -> None:
    for number in range(2000):
        parse("memory", str(16 + number))
    assert parse("memory", "17") == {"current": "17"}


def test_mappings() -> None:
    text = "node=pve1,path=0000:01:00.0;0000:02:00,id=10de:2204,iommugroup=14,subsystem-id=1043:87d0"
    assert parse_format("pci-map", text) == {
        "node": "pve1",
        "path": "0000:01:00.0;0000:02:00",
        "id": "10de:2204",
        "iommugroup": "14",
        "subsystem-id": "1043:87d0",
    }
    with pytest.raises(PropertyError, match="path is not a list of PCI addresses"):
        parse_format("pci-map", "node=pve1,path=01:00.0,id=10de:2204")


def test_every_property_string_has_a_sample() -> None:
    used = {option.format for option in OPTIONS.values()} & set(PROPERTY_STRINGS)
    assert used == {OPTIONS[option].format for option, _, _ in ACCEPTED} & set(PROPERTY_STRINGS)
