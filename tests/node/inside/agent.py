"""Inside a booted system: runs the commands that the tests send. A JSON line in, a JSON line back, a connection each."""

import json
import os
import socket
import subprocess
import sys
import threading


def answer(connection: socket.socket) -> None:
    with connection, connection.makefile("rwb") as stream:
        line = stream.readline()
        if not line:
            return
        order = json.loads(line)
        try:
            done = subprocess.run(
                order["argv"],
                input=order["input"],
                capture_output=True,
                env={**os.environ, **order["environment"]},
                cwd="/root",
                timeout=order["timeout"],
                check=False,
                text=True,
                errors="backslashreplace",
            )
            reply = {"status": done.returncode, "out": done.stdout, "err": done.stderr}
        except subprocess.TimeoutExpired as late:
            reply = {"status": 124, "out": str(late.stdout), "err": f"{late}\n{late.stderr!r}"}
        except OSError as error:
            reply = {"status": 127, "out": "", "err": str(error)}
        stream.write(json.dumps(reply).encode() + b"\n")


def main(path: str) -> None:
    if os.path.exists(path):
        os.unlink(path)
    server = socket.socket(socket.AF_UNIX)
    server.bind(path + ".new")
    server.listen(16)
    os.rename(path + ".new", path)
    while True:
        connection, _ = server.accept()
        threading.Thread(target=answer, args=(connection,), daemon=True).start()


main(sys.argv[1])
