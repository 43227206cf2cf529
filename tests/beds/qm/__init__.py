"""A stand-in for PVE's `qm`: a real executable for PATH that speaks the words of qemu-server 9.2.6, or of 8.2.1."""

from .driver import Call, Qm

__all__ = ["Call", "Qm"]
