"""Storages, and the firmware images on them."""
