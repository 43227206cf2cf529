"""The architecture: imports inside pvehooks/ run downwards, and one module opens files and starts programs."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

from tests.lint.source import PACKAGE, label, nodes, python_files, tree

# Top to bottom: a file or folder directly below pvehooks/, and what it is. It may import itself and what stands on a lower floor.
FLOORS: tuple[dict[str, str], ...] = (
    {"__main__": "the command line from a checkout"},
    {"cli": "the command line"},
    {"daemon": "the service: notices, reviews, has the jobs done"},
    {"guard": "the hookscript's examination of a start"},
    {"notify": "messages to people"},
    {"journal": "what goes to the journal"},
    {"actions": "what is changed", "report": "what is shown: HTML, Markdown, JSON"},
    {"capture": "a node in a file, without its secrets"},
    {"judge": "findings and settings become a verdict"},
    {"rules": "facts become findings", "causes": "logs become causes of failed starts"},
    {"derived": "views of facts that rules and others share"},
    {"facts": "files of the node become values"},
    {"records": "what is remembered", "settings": "what the administrator wants"},
    {"host": "the door to the system"},
    {"formats": "parsers of PVE's texts", "wording": "words that all outputs share"},
    {"values": "what all others speak in"},
    {"errors": "errors with a hint and an exit status"},
)
# These ask neither the system nor the settings.
ONLY_VALUES = {
    "rules": {"derived", "values", "errors"},
    "causes": {"values", "errors"},
    "derived": {"values", "errors"},
    "report": {"values", "errors", "wording"},
}
FLOOR = {unit: number for number, units in enumerate(FLOORS) for unit in units}

FILES = python_files(PACKAGE)


def unit(path: Path) -> str:
    """The file or directory directly below pvehooks/ that a file is or belongs to, "" for pvehooks/__init__.py."""
    first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


def module(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module(path): path for path in FILES}


def imported(path: Path, node: ast.AST) -> Iterator[str]:
    """The project's modules that an import statement names."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in MODULES)
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"{label(path)}:{node.lineno}: imports are absolute"
        if node.module in MODULES:
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else str(node.module) for name in whole)


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """All imports of project modules in a file, also those inside functions: (line, module)."""
    for node in nodes(path):
        for name in imported(path, node):
            yield getattr(node, "lineno", 0), name


def test_imports_run_downwards() -> None:
    wrong = []
    for path in FILES:
        here = unit(path)
        if here not in FLOOR:
            wrong += [f"{label(path)}:{line}: it is imported by all, and imports nothing" for line, _ in imports(path)]
            continue
        for line, name in imports(path):
            there = unit(MODULES[name])
            allowed = there in ONLY_VALUES[here] if here in ONLY_VALUES else FLOOR.get(there, -1) > FLOOR[here]
            if there not in ("", here) and not allowed:
                wrong.append(f"{label(path)}:{line}: {here} must not import {name}")
    assert not wrong, "\n".join(wrong)


def test_each_floor_holds_something() -> None:
    there = {unit(path) for path in FILES} - {""}
    assert set(FLOOR) == there, "FLOORS has a line for each file and folder directly below pvehooks/, and no other"
    assert len(FLOOR) == sum(map(len, FLOORS)), "each has one floor"
    assert set(ONLY_VALUES) <= there


def test_no_modules_import_each_other() -> None:
    """Imports at the top of files form no circle (TopologicalSorter raises CycleError, which names it)."""
    graph = {name: [each for node in tree(path).body for each in imported(path, node)] for name, path in MODULES.items()}
    graph = {name: [each for each in needed if each not in ("pvehooks", name)] for name, needed in graph.items()}
    assert len(list(TopologicalSorter(graph).static_order())) >= len(graph) - 1


# -- the one door to the operating system -----------------------------------------------------------------------------

DOOR = "host/__init__.py"
# What the door alone uses: opening what lies where others may write, running commands and programs, holding signals back, datagrams.
BEHIND_THE_DOOR = ("host/safepaths.py", "host/running.py", "host/program.py", "host/undisturbed.py", "host/datagram.py")
DOOR_MODULES = {"ctypes", "fcntl", "glob", "io", "mmap", "multiprocessing", "pathlib", "shutil", "socket", "subprocess", "tempfile"}
CLOCK = {"time.time", "time.monotonic", "time.sleep", "time.time_ns", "time.monotonic_ns", "datetime.now", "datetime.utcnow"}
# Words about paths and errors that ask the system nothing.
HARMLESS = {"os.path.basename", "os.path.dirname", "os.path.join", "os.strerror", "os.fsdecode", "os.fsencode"}
EXEMPT = {
    "host/readonce.py": {"os.path.islink"},  # a part of Host.locate, for a path whose directory it has located
    "actions/backups.py": {"os.stat"},  # the time of a backup
    "causes/registry.py": {"os.listdir"},  # its own folder: which causes there are
    "cli/terminal.py": {"shutil"},  # how wide a terminal is
    "cli/audit.py": {"os.environ", "os.environ.get", "os.geteuid"},  # who asks
    "cli/commands/guest.py": {"os.path.abspath"},  # its argument may be any file
    # standard output after a broken pipe, or closed by the caller; whether it is root who met a file that cannot be opened
    "cli/main.py": {"os.O_RDWR", "os.O_WRONLY", "os.devnull", "os.dup2", "os.fdopen", "os.geteuid", "os.open"},
    "cli/commands/report.py": {"os.geteuid"},  # whose files keep their modes
    "daemon/service.py": {"os.environ", "os.environ.get"},  # systemd's watchdog
    "facts/uses/processes.py": {"os.O_PATH", "os.O_RDWR", "os.O_WRONLY"},  # how the kernel says it of others' open files
    # the wake-up pipes of signals, and the end of a process that hangs in FUSE
    "daemon/signals.py": {
        "os.O_CLOEXEC",
        "os.O_NONBLOCK",
        "os._exit",
        "os.pipe2",
        "os.read",
        "os.set_blocking",
        "os.write",
    },
    "facts/cluster/nodes.py": {"os.uname"},  # the node's name
    "guard/journal.py": {"os.uname"},  # the node's name, where /etc/pve cannot be asked
    "guard/log.py": {"os.write", "time.monotonic"},  # PVE's task log, and how long it waits for its reader
    # the standard streams, the environment and the end of the hookscript's process
    "guard/main.py": {"os.O_RDWR", "os._exit", "os.devnull", "os.environ.get", "os.environ", "os.fstat", "os.open"},
    # the process that is killed at its deadline
    "guard/supervise.py": {
        "os.O_RDWR",
        "os.WNOHANG",
        "os._exit",
        "os.close",
        "os.devnull",
        "os.dup2",
        "os.fork",
        "os.kill",
        "os.open",
        "os.pipe",
        "os.read",
        "os.waitpid",
        "os.waitstatus_to_exitcode",
        "time.monotonic",
        "time.sleep",
    },
    "host/unpacking.py": {"open", "subprocess"},  # large files, piece by piece, and through the program that unpacks them
    "rules/engine.py": {"os.listdir"},  # the package's own files: which rules there are
    "journal/output.py": {"os.path.exists"},  # journald's socket
    "daemon/watch.py": {"os.path.isdir", "os.stat"},  # where the inotify watches go
}


def dotted(node: ast.AST) -> str:
    """`os.path.exists` as text; "" for what is no plain chain of names."""
    if isinstance(node, ast.Name):
        return node.id
    inner = dotted(node.value) if isinstance(node, ast.Attribute) else ""
    return f"{inner}.{node.attr}" if isinstance(node, ast.Attribute) and inner else ""


def names(path: Path) -> Iterator[str]:
    """What a file uses of the system, as written: os.stat, os.path.exists, subprocess, open."""
    for node in nodes(path):
        if isinstance(node, ast.Attribute):
            name = dotted(node)
            if name in CLOCK or (name.startswith("os.") and name != "os.path"):
                yield name
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.partition(".")[0] in DOOR_MODULES)
        elif isinstance(node, ast.ImportFrom):
            first = str(node.module).partition(".")[0]
            if first in DOOR_MODULES or first in ("os", "time", "datetime"):
                yield f"from {node.module} import"
        elif isinstance(node, ast.Call) and dotted(node.func) == "open":
            yield "open"


def test_only_the_host_speaks_with_the_system() -> None:
    wrong = []
    for path in FILES:
        if label(path).endswith((DOOR, *BEHIND_THE_DOOR)):
            continue
        used = set(names(path)) - HARMLESS
        exempt = EXEMPT.get(str(path.relative_to(PACKAGE)), set())
        wrong += [f"{label(path)}: {name} goes through {DOOR}, or is listed in EXEMPT with its reason" for name in sorted(used - exempt)]
        wrong += [f"{label(path)}: {name} is not used any more: take it out of EXEMPT" for name in sorted(exempt - used)]
    assert not wrong, "\n".join(wrong)
    assert not set(EXEMPT) - {str(path.relative_to(PACKAGE)) for path in FILES}


def test_only_the_door_uses_what_is_behind_it() -> None:
    """Whoever opens, replaces or locks a file does it through Host, which looks at whose directory it is."""
    behind = {f"pvehooks.{name.removesuffix('.py').replace('/', '.')}" for name in BEHIND_THE_DOOR}
    users = [label(path) for path in FILES if any(name in behind for _, name in imports(path))]
    assert users == [f"pvehooks/{DOOR}"]


SHARED_PLACES = ("/run/lock", "/var/lock", "/tmp", "/var/tmp")
IN_SHARED_PLACES = {
    "actions/writer.py": {"/var/lock"},  # PVE's own lock of a config
    "guard/stop.py": {"/var/lock"},  # the same: whether PVE works on the guest
    # where a directory is that a guest is given: only looked at
    "facts/node/paths.py": {"/tmp", "/var/tmp"},
    "facts/node/sharing.py": {"/tmp", "/var/tmp"},
}


def test_nothing_of_ours_lies_where_everybody_may_write() -> None:
    found = {
        f"{label(path)}: {place}"
        for path in FILES
        for node in nodes(path)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for place in SHARED_PLACES
        if node.value == place or node.value.startswith(f"{place}/")
    }
    allowed = {f"pvehooks/{name}: {place}" for name, places in IN_SHARED_PLACES.items() for place in places}
    assert found - allowed == set()
