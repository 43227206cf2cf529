"""The kinds of events at starts, at boot, and of what an administrator had `pvehooks` do."""

from __future__ import annotations

from pvehooks.journal.kind import ERR, NOTICE, WARNING, Kind

KINDS = (
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
