"""Pure parsers of Proxmox VE's text formats: bytes or str in, frozen values out, no file is opened."""
