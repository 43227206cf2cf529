"""pvehooks mapping: PCI mappings, by which VMs name devices on any node."""

SUMMARY = "make, check and export PCI mappings"
EXAMPLE = "pvehooks mapping check"
GROUPS = {"Actions": ("add", "adopt", "check", "export")}
