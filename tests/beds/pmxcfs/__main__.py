"""Serve the stand-in for pmxcfs: `python3 -m tests.beds.pmxcfs MOUNTPOINT --control SOCKET ...`, until SIGTERM."""

import sys

from .server import main

sys.exit(main(sys.argv[1:]))
