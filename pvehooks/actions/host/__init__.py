"""Fixing findings on the node itself: in the files of its boot loader, of modprobe and of modules. A fix can be undone."""
