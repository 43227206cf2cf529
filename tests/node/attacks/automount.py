"""An automount whose server never answers (autofs(5)): automount.py DIRECTORY. Who walks to it waits for ever."""

import ctypes
import os
import sys
import time


def main(place: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    os.makedirs(place, exist_ok=True)
    _, kernel = os.pipe()
    options = f"fd={kernel},pgrp={os.getpgrp()},minproto=5,maxproto=5,direct"
    if libc.mount(b"attack", place.encode(), b"autofs", 0, options.encode()):
        raise OSError(ctypes.get_errno(), f"autofs on {place}")
    print("ready", flush=True)
    time.sleep(3600)


main(sys.argv[1])
