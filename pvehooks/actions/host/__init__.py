"""Mending what is wrong with the node itself: in the files of its boot loader, of modprobe and of modules, with a way back."""
