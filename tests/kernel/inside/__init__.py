"""What runs inside of the machine. Nothing here knows the package: it sees it as Proxmox VE and the kernel do."""
