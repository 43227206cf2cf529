# What mypy is told of python3-systemd, which has no types; without it, it would take the directory systemd/ for the module.
