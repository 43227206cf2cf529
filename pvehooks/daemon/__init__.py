"""The daemon: watches the VM configs of this node, reviews every change, and gives guests what they lack."""
