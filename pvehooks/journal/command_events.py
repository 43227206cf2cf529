"""The kinds of events at starts, at boot, and of what an administrator had `pvehooks` do."""

from __future__ import annotations

from pvehooks.journal.kind import ERR, INFO, NOTICE, WARNING, Kind

KINDS = (
    Kind(
        "next-boot",
        INFO,
        "The next boot was looked at",
        "A kernel, QEMU, or modules of DKMS were installed or removed. All VMs with passed-through devices will start after the next boot."
        " See: pvehooks host check --next-boot",
    ),
    Kind(
        "next-boot-trouble",
        WARNING,
        "VMs will not start after the next boot, or something is lost then",
        "A kernel, QEMU, or modules of DKMS were installed or removed. The message lists the VMs that will not start, those of which that cannot be"
        " known before, and what the node loses. `pvehooks host check --next-boot` shows what to do before the restart.",
        notify="boot",
    ),
    Kind(
        "start-allowed",
        WARNING,
        "A start went through because an administrator allowed it",
        "The message names who allowed it, the reason, and what would have refused the start. The override is used up; `pvehooks allow` gives another one.",
    ),
    Kind(
        "start-unexamined",
        ERR,
        "A start could not be examined",
        "A file could not be read, or the examination took too long; the message names it, and what became of the start ([guard] on_error).",
        notify="refused_starts",
    ),
    Kind(
        "device-bound",
        NOTICE,
        "A device was bound to vfio-pci for a VM",
        "It was idle and not bound. It stays with vfio-pci after the VM's end; `[guard] unbound` sets whether the guard does this.",
    ),
    Kind(
        "device-not-bound",
        ERR,
        "A device could not be bound to vfio-pci",
        "The start was refused. The message gives the reason, and which driver the device is on now.",
        notify="refused_starts",
    ),
    Kind(
        "device-returned",
        NOTICE,
        "A device is with its driver of the node again",
        "A VM that had it has ended, and `after_stop = return` is set for the VM or the device in /etc/pvehooks/pvehooks.conf.",
    ),
    Kind(
        "device-not-returned",
        WARNING,
        "A device was not given back to its driver of the node",
        "A VM that had it has ended, and `after_stop = return` is set. The message gives the reason and where the device is now."
        " By hand: pvehooks unbind ADDRESS",
    ),
    Kind(
        "device-dead",
        ERR,
        "A device does not answer after a VM had it",
        "The next start of the VM is refused while that is so. The message says what helps for this device.",
        notify="dead_devices",
    ),
    Kind(
        "device-degraded",
        WARNING,
        "A device is not as it was before a VM had it",
        "Its link has fewer lanes, it had PCIe errors while the VM ran, or it lost its virtual functions. It works, maybe badly.",
    ),
    Kind(
        "bound-at-boot",
        NOTICE,
        "A device is as `pvehooks bind --persist` wants it",
        "It was given to vfio-pci, or given its virtual functions, at boot or when it appeared. See: pvehooks bind --list",
    ),
    Kind(
        "not-bound-at-boot",
        ERR,
        "A device is not as `pvehooks bind --persist` wants it",
        "The message gives the reason: another device is at its address now, it is not there, the host uses it, or the kernel refused."
        " Nothing was taken from the host. See: pvehooks bind --list",
        notify="boot",
    ),
    Kind(
        "binding-changed",
        NOTICE,
        "An administrator changed what a device is bound to",
        "By `pvehooks bind` or `pvehooks unbind`, at once or for every boot; the message names it, and who asked for it. See: pvehooks bind --list",
    ),
    Kind(
        "device-followed",
        NOTICE,
        "A VM or a mapping names a device where it is now",
        "By `pvehooks follow`: the device had another address since slots or other cards changed. The message has the old and the new value,"
        " and who asked for it. The config before is kept: `pvehooks backups`.",
    ),
    Kind(
        "mapping-changed",
        NOTICE,
        "A PCI mapping got a device, or a VM names its devices by mappings",
        "By `pvehooks mapping add` or `pvehooks mapping adopt`; the message names the devices, and who asked for it.",
    ),
    Kind(
        "host-fixed",
        NOTICE,
        "Files of the node were changed",
        "By `pvehooks host fix`; the message lists what was changed and run, and who asked for it. `pvehooks host undo` puts the files back.",
    ),
    Kind(
        "host-not-fixed",
        ERR,
        "A fix of the node was interrupted",
        "The message gives the reason, and what became of the files that `pvehooks host fix` or `pvehooks host undo` was to change.",
    ),
    Kind(
        "host-fix-undone",
        NOTICE,
        "Files of the node are as they were",
        "`pvehooks host undo` took the last fix back; the message lists the files, what was run, and who asked for it.",
    ),
    Kind(
        "firmware-set",
        NOTICE,
        "A VM was given a firmware image",
        "By `pvehooks firmware set`; the message names it, and who asked for it. The guard looks at the image before each start.",
    ),
    Kind(
        "firmware-unset",
        NOTICE,
        "A VM has the node's own firmware again",
        "By `pvehooks firmware unset`; the message names the image it had, and who asked for it. The image stays in its storage.",
    ),
    Kind(
        "firmware-migrated",
        NOTICE,
        "A VM's firmware image was handed over to Proxmox VE",
        "By `pvehooks firmware migrate`: the image stands in Proxmox VE's own option now, and no more in the VM's args.",
    ),
    Kind(
        "firmware-imported",
        NOTICE,
        "A firmware image was put into a storage",
        "By `pvehooks firmware import`; the message names the file, and who asked for it. No VM starts with it yet.",
    ),
    Kind(
        "firmware-removed",
        NOTICE,
        "A firmware image was deleted",
        "By `pvehooks firmware remove`; no VM and no snapshot named it. The message names who asked for it.",
    ),
    Kind(
        "firmware-not-changed",
        ERR,
        "A change of a VM's firmware was interrupted",
        "The VM's args were written and are not as they should be; the message names the backup of the config as it was before.",
    ),
)
