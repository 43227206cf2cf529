"""The guard from a checkout: python3 -m pvehooks.guard VMID PHASE [--root DIR]."""

from pvehooks.guard.main import run

run()
