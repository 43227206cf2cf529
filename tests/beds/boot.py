"""A node as it boots, planted from a few words: the boot loader with its files, the kernel, its modules and its command line.

    loader: systemd-boot
    plan: quiet iommu=pt
    menu: quiet
    running: quiet

Keys: `loader` (grub, bios, grub-esp, secure-boot, systemd-boot), `plan` (the arguments in the loader's file), `menu` (those in its menu; as the plan),
`running` (those of the running kernel; as the menu), `esp` (mounted), `cpu` (Intel, AMD), `kernel` (release), `next` (a newer one beside it), `tables` (ACPI), `root`.
"""

from __future__ import annotations

from tests.beds.tree import Content, Link

RELEASE = "6.8.12-4-pve"
UUIDS = "5D3E-A1B2\n5D3F-0C44\n"
GLOBAL = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
LOADER = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
_CPU = {"Intel": ("GenuineIntel", "vmx", "intel-microcode", "DMAR"), "AMD": ("AuthenticAMD", "svm", "amd64-microcode", "IVRS")}
_ZFS = "root=ZFS=rpool/ROOT/pve-1 boot=zfs"
_DEFAULTS = """\
# If you change this file, run 'update-grub' afterwards to update
# /boot/grub/grub.cfg.

GRUB_DEFAULT=0
GRUB_TIMEOUT=5
GRUB_DISTRIBUTOR=`( . /etc/os-release; echo ${{NAME:-Debian}} ) 2>/dev/null || echo Debian`
GRUB_CMDLINE_LINUX_DEFAULT="{plan}"
GRUB_CMDLINE_LINUX=""
"""


def plant(text: str) -> dict[str, Content]:
    """The files of a node; without a word, one with ext4, UEFI and GRUB on which all is well."""
    keys = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in text.splitlines() if line.strip())}
    loader = keys.get("loader", "grub")
    plan = keys.get("plan", "quiet iommu=pt")
    menu = keys.get("menu", plan)
    running = keys.get("running", menu)
    release = keys.get("kernel", RELEASE)
    root = keys.get("root", "root=/dev/mapper/pve-root ro" if loader in ("grub", "bios") else _ZFS)
    coming = keys.get("next", "")
    files = {**_node(keys, release), **_kernel(release), **(_kernel(coming) if coming else {})}
    entry = "".join(f"\tlinux\t/boot/vmlinuz-{each} {root} {menu}\n" for each in filter(None, (coming, release)))
    if loader == "systemd-boot":
        files["etc/default/grub"] = _DEFAULTS.format(plan="quiet")
        files["etc/kernel/cmdline"] = f"{root} {plan}\n"
        files["proc/cmdline"] = f"initrd=\\EFI\\proxmox\\{release}\\initrd.img-{release} {root} {running}\n"
        menu_file = {
            f"boot/efi/loader/entries/proxmox-{release}.conf": f"title Proxmox VE\noptions {root} {menu}\nlinux /EFI/proxmox/{release}/vmlinuz-{release}\n"
        }
    else:
        files["etc/default/grub"] = _DEFAULTS.format(plan=plan)
        files["proc/cmdline"] = f"BOOT_IMAGE=/boot/vmlinuz-{release} {root} {running}\n"
        menu_file = {
            "boot/grub/grub.cfg" if loader in ("grub", "bios") else "boot/efi/grub/grub.cfg": f"menuentry 'Proxmox VE' {{\n{entry}}}\n"
        }
    if loader in ("grub", "bios") or "esp" in keys:
        files |= menu_file
    if loader not in ("grub", "bios"):
        files["etc/kernel/proxmox-boot-uuids"] = UUIDS
        files |= {f"dev/disk/by-uuid/{uuid}": Link("../../sda2") for uuid in UUIDS.split()}
    if loader != "bios":
        files |= _uefi(loader == "secure-boot")
    return files


def _node(keys: dict[str, str], release: str) -> dict[str, Content]:
    vendor, flag, microcode, table = _CPU[keys.get("cpu", "Intel")]
    return {
        "etc/pve/nodes/pve1/qemu-server": None,
        "etc/pve/local": Link("nodes/pve1"),
        "proc/cpuinfo": f"processor\t: 0\nvendor_id\t: {vendor}\nflags\t\t: fpu {flag} rdrand\n\nprocessor\t: 1\nvendor_id\t: {vendor}\n",
        "proc/sys/kernel/osrelease": f"{release}\n",
        "proc/meminfo": "MemTotal:       33554432 kB\nMemFree:        16777216 kB\nMemAvailable:   25165824 kB\n",
        "proc/interrupts": "            CPU0\n  0:         42  IR-IO-APIC    2-edge      timer\n",
        "proc/mounts": "/dev/mapper/pve-root / ext4 rw 0 0\n",
        "proc/self/mountinfo": "",
        "proc/swaps": "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n",
        "etc/modprobe.d/pve-blacklist.conf": "blacklist nvidiafb\n",
        "etc/modules": "# /etc/modules\n",
        "sys/class/net/lo/ifindex": "1\n",
        "etc/network/interfaces": "auto lo\niface lo inet loopback\n",
        **{f"sys/firmware/acpi/tables/{name}": "" for name in keys.get("tables", f"FACP {table}").split()},
        f"usr/share/doc/{microcode}/copyright": "",
        "sys/kernel/mm": None,
        "etc/systemd/network": None,
        "sys/kernel/iommu_groups": None,
        "sys/class/iommu": None,
    }


def _kernel(release: str) -> dict[str, Content]:
    vfio = "kernel/drivers/vfio/vfio.ko:\nkernel/drivers/vfio/vfio_iommu_type1.ko: kernel/drivers/vfio/vfio.ko\n"
    return {
        f"boot/vmlinuz-{release}": "",
        f"boot/initrd.img-{release}": f"# pvehooks: the files of an initramfs\n== usr/lib/modules/{release}/kernel/fs/ext4/ext4.ko ==\n",
        f"boot/config-{release}": "CONFIG_INTEL_IOMMU=y\nCONFIG_INTEL_IOMMU_DEFAULT_ON=y\nCONFIG_VFIO_PCI=m\n",
        f"lib/modules/{release}/modules.dep": f"{vfio}kernel/drivers/vfio/pci/vfio-pci.ko: kernel/drivers/vfio/vfio.ko\n",
        f"lib/modules/{release}/modules.builtin": "kernel/drivers/iommu/iova.ko\n",
    }


def _uefi(secure: bool) -> dict[str, Content]:
    return {
        "sys/firmware/efi/runtime": "0x0\n",
        f"sys/firmware/efi/efivars/SecureBoot-{GLOBAL}": b"\x06\0\0\0" + (b"\x01" if secure else b"\0"),
    }


def with_translation(files: dict[str, Content], kind: str = "identity") -> dict[str, Content]:
    """The type of each IOMMU group that is planted."""
    groups = {path.split("/")[3] for path in files if path.startswith("sys/kernel/iommu_groups/")}
    return files | {f"sys/kernel/iommu_groups/{group}/type": f"{kind}\n" for group in groups}
