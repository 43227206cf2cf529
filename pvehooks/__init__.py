"""pvehooks: entropy for UEFI guests and a guard for PCI passthrough on Proxmox VE nodes."""

__version__ = "0.1.0"
