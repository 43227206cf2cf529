"""Test beds: real stand-ins for what a Proxmox VE node has and a Debian machine has not."""
