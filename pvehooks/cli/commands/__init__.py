"""What can be run: a verb a file. One with actions is a package, with a file for each action."""

SUMMARY = "show what keeps the VMs of a Proxmox VE node from starting, and fix it"
EXAMPLE = "pvehooks check"
# The order in the help and in the manual.
GROUPS = {
    "To look, and change nothing": ("check", "why", "explain", "rules", "report", "status", "guest", "devices", "config", "capture"),
    "VMs and their starts": ("inject", "undo", "attach", "detach", "allow", "trust", "firmware", "backups"),
    "This node and its devices": ("host", "bind", "unbind", "lend", "follow", "mapping", "notify"),
}
