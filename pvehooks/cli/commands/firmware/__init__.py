"""pvehooks firmware: UEFI firmware images for single guests."""

SUMMARY = "give VMs a UEFI firmware image of their own"
EXAMPLE = "pvehooks firmware set 100 local:efi-firmware/OVMF_CODE_4M.fd"
GROUPS = {"Actions": ("info", "import", "list", "verify", "remove", "set", "unset", "migrate")}
