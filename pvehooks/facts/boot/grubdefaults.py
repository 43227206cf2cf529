"""What /etc/default/grub and /etc/default/grub.d/*.cfg would give, as grub-mkconfig(8) reads them: by sourcing them with sh.

On a node a real sh reads them, and it can do no harm: its user is "nobody", without any capability or way to one, in namespaces of its own
(processes, mounts, network, IPC) that end with it, without PATH and environment, in a root directory of its own that is read-only and
has no /run, /tmp, /var, /home and no other process; it may write no byte to a file, and has one second of CPU and 64 MiB. Who is in another
root directory gets no user namespace either (user_namespaces(7)). The files' text is handed over, none is opened there. A tree gets no shell, and neither does a node where these walls cannot be had
(no root, or the daemon's own sandbox): then only plain assignments are understood, and anything else is not examined.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pvehooks.facts.reading import unread
from pvehooks.host import CommandTrouble, Host
from pvehooks.values.base import Unread
from pvehooks.values.boot import GRUB_DEFAULTS, Assignment

SNIPPETS = "/etc/default/grub.d"
WANTED = ("GRUB_CMDLINE_LINUX", "GRUB_CMDLINE_LINUX_DEFAULT", "GRUB_DEFAULT")
_LIMIT = 1 << 16
# Longer than any kernel's command line (COMMAND_LINE_SIZE is 2048, and 4096 on some): values that double with each line end here.
_LONGEST = 1 << 13
# A busy machine needs more than a second to start the programs that build the walls; what runs within them has its second of CPU.
_TIMEOUT = 10.0
# The root directory: an empty file system in our own mount namespace, with what a file may ask about, not with what is mounted below (/etc/pve);
# programs and libraries with what is mounted below.
_ROOM = """set -e; export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t tmpfs -o mode=755,size=64k,nosuid pvehooks /tmp; cd /tmp
links='' places=''
for each in etc sys boot usr bin sbin lib lib32 lib64 libx32; do
    if [ -L /$each ]; then links="$links /$each"; elif [ -d /$each ]; then places="$places $each"; fi
done
mkdir proc dev $places; [ -z "$links" ] || cp -P $links .
for each in $places; do
    case $each in etc | sys | boot) how=--bind ;; *) how=--rbind ;; esac
    mount $how -o ro,nosuid,nodev /$each $each
done
mount -t proc -o ro,nosuid,nodev,noexec proc proc
: >dev/null; mount --bind /dev/null dev/null
mount -o remount,ro /tmp
exec unshare --root=/tmp --wd=/ /usr/bin/env -i PATH=/nonexistent LC_ALL=C "$@" """
# A user id in no range of systemd's UIDS-GIDS, so that it is unused: prlimit counts all processes of a user, wherever they come from.
_UNUSED_UID = 2147450879
_WALLS = (
    *("/usr/bin/env", "-i", "PATH=/nonexistent", "LC_ALL=C"),
    *("/usr/bin/unshare", "--mount", "--net", "--ipc", "--uts", "--pid", "--fork", "--kill-child", "--"),
    *("/bin/sh", "-c", _ROOM, "sh"),
    *("/usr/bin/setpriv", f"--reuid={_UNUSED_UID}", f"--regid={_UNUSED_UID}", "--clear-groups", "--no-new-privs"),
    *("--inh-caps=-all", "--bounding-set=-all", "--"),
    *("/usr/bin/prlimit", "--cpu=1", "--as=67108864", "--fsize=0", "--nofile=32", "--nproc=64", "--core=0", "--"),
)
# Says on descriptor 3 after each file how far it came: a mistake in the syntax ends the shell.
_SCRIPT = 'exec 3>&1 >/dev/null 2>&1; printf "ready\\n" >&3; for text; do eval "$text"; printf "read %s\\n" $? >&3; done;' + "".join(
    f' printf "%s\\0" "${{{name}-}}" >&3;' for name in WANTED
)
# grub-mkconfig is a script for sh and ends at the first command that fails.
_APPENDING = re.compile(r"^[ \t]*+(GRUB_\w++)\+=", re.MULTILINE)
# [ CONDITION ] && COMMAND, where it does not matter who asks (-r, -w, -x).
_CONDITION = re.compile(r"(?!.*\s-[rwx]\s)\s*(?:\[|test)\s(?=[^|;]*+\Z).*&&.*")
# No part can be read in two ways, or what is no assignment would take time that doubles with each variable in it.
_QUOTED = r"""'[^']*'|"(?:[^"\\`$]|\\.|\$\w++|\$\{\w++\})*"|\\.|[^\s'"\\`$;&|<>()#*?\[{~]"""
_PLAIN = re.compile(rf"\s*(?:export\s+)?([A-Za-z_]\w*)=((?:{_QUOTED})*)\s*(?:\s#.*)?", re.ASCII)
_COMPUTED = re.compile(r"\s*(?:export\s+)?([A-Za-z_]\w*)=(?:`[^`]*`|\$\([^()]*\)|\"\$\([^()]*\)\"|\"`[^`]*`\")\s*", re.ASCII)
_PART = re.compile(rf"""{_QUOTED}""")
_VARIABLE = re.compile(r"\\(.)|\$(?:\{(\w+)\}|(\w+))", re.DOTALL)


class Broken(Exception):
    """sh cannot read a file: which, and why in words."""


def read(host: Host) -> dict[str, str] | Unread | None:
    """The variables of WANTED ('' for those not set), None where there is no file. Raises Broken where update-grub would fail."""
    try:
        files = _files(host)
    except OSError as error:
        return unread(error.filename, error)
    if not files:
        return None
    for path, text in files:
        appended = _APPENDING.search(text)
        if "\0" in text:
            raise Broken(f"{path} holds NUL bytes")
        if "\r\n" in text:
            line = _line(text, text.index("\r\n"))
            raise Broken(f"{path}, line {line}: it ends as lines of Windows do, and sh takes the carriage return for a part of it")
        if appended:
            raise Broken(
                f"{path}, line {_line(text, appended.start(1))}: sh has no '{appended[1]}+=': write {appended[1]}=\"${appended[1]} ...\""
            )
    if host.can_run:
        read_by_shell = by_shell(host, files)
        if read_by_shell is not None:
            return read_by_shell
    return by_hand(files)


def _files(host: Host) -> list[tuple[str, str]]:
    """Path and text of each file, in the order in which grub-mkconfig sources them; raises OSError."""
    try:
        snippets = [f"{SNIPPETS}/{name}" for name in host.names(SNIPPETS) if name.endswith(".cfg") and not name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        snippets = []
    files = []
    for path in (GRUB_DEFAULTS, *snippets):
        try:
            files.append((path, host.read(path, _LIMIT).decode("utf-8", "surrogateescape")))
        except FileNotFoundError:
            continue
    return files


def _line(text: str, place: int) -> int:
    return text.count("\n", 0, place) + 1


# -- by a shell -------------------------------------------------------------------------------------------------------


def by_shell(host: Host, files: list[tuple[str, str]]) -> dict[str, str] | Unread | None:
    """What sh makes of them, None where the walls around it cannot be had."""
    texts = [text for _, text in files]
    try:
        done = host.run((*_WALLS, "/bin/sh", "-c", _SCRIPT, "sh", *texts), _TIMEOUT)
    except CommandTrouble as trouble:
        return Unread(f"{GRUB_DEFAULTS}: {trouble}") if "did not end" in str(trouble) else None
    first, *lines = done.stdout.split("\n", len(files) + 1) if done.stdout else [""]
    if first != "ready":
        return None
    statuses = [line.split(" ")[1] for line in lines[: len(files)] if re.fullmatch("read [0-9]+", line)]
    finished = len(statuses)
    for (path, text), status in zip(files, statuses, strict=False):
        _require_good_end(path, text, status)
    if finished < len(files):
        path, text = files[finished]
        complaint = _complaint(host, text)
        if complaint:
            raise Broken(f"{path}: {complaint}")
        return Unread(f"{path}: sh does not come to its end when it may neither write nor take its time")
    values = lines[-1].split("\0")
    return (
        dict(zip(WANTED, values, strict=False))
        if len(values) == len(WANTED) + 1
        else Unread(f"{GRUB_DEFAULTS}: sh did not come to its end")
    )


def _require_good_end(path: str, text: str, status: str) -> None:
    """Raises Broken where a condition that is not met is the last command: for a file that is sourced it is an error then (set -e)."""
    lines = [line for line in text.rstrip().split("\n") if line.strip() and not line.lstrip().startswith("#")]
    if status == "1" and lines and _CONDITION.fullmatch(lines[-1]):
        line = len(text.rstrip().split("\n"))
        raise Broken(f"{path}, line {line}: its condition is not met, and so its last command fails: write if ...; then ...; fi")


def _complaint(host: Host, text: str) -> str:
    """The message of sh about the syntax of a text, which it reads and does not run."""
    try:
        done = host.run((*_WALLS, "/bin/sh", "-n", "-c", text), _TIMEOUT)
    except CommandTrouble:
        return ""
    line = next(iter(done.stderr.split("\n")), "")
    match = re.search(r": ([0-9]+): (.*)$", line)
    return f"line {match[1]}: {match[2]}" if match else line


# -- by hand ----------------------------------------------------------------------------------------------------------


def assignments(host: Host) -> tuple[Assignment, ...]:
    """The assignments of GRUB_CMDLINE_* in the order in which they are read; none where the files hold more than plain assignments."""
    noted: list[Assignment] = []
    try:
        understood = by_hand(_files(host), noted)
    except (OSError, Broken):
        return ()
    return () if isinstance(understood, Unread) else tuple(each for each in noted if each.variable.startswith("GRUB_CMDLINE_LINUX"))


def by_hand(files: list[tuple[str, str]], noted: list[Assignment] | None = None) -> dict[str, str] | Unread:
    """What plain assignments say, each of which is added to `noted`.

    A value that a command makes is left out where it is not in WANTED; all else is not understood.
    """
    values: dict[str, str] = {}
    unknown: set[str] = set()
    for path, text in files:
        seen: list[tuple[int, str, str]] = []
        trouble, number = _assign(text, values, unknown, seen)
        if noted is not None:
            noted.extend(Assignment(path, line, name, value) for line, name, value in seen)
        if trouble:
            if number and _open_quote("\n".join(text.split("\n")[number - 1 :])):
                raise Broken(f"{path}, line {number}: a quote is not closed there, or further down")
            return Unread(f"{path}, {trouble}")
    return {name: values.get(name, "") for name in WANTED}


def _assign(text: str, values: dict[str, str], unknown: set[str], seen: list[tuple[int, str, str]]) -> tuple[str, int]:
    """Adds a file's assignments to `values` and `seen`; returns what is more than that, '' if nothing is, and its line's number."""
    for number, line in _logical(text):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        plain = _PLAIN.fullmatch(line)
        computed = None if plain else _COMPUTED.fullmatch(line)
        if plain is None and computed is None:
            return f"line {number}: it is more than an assignment, and only a shell knows what it does", number
        if computed is not None:
            unknown.add(computed[1])
            values.pop(computed[1], None)
        elif plain is not None:
            uses = [name for each in _VARIABLE.finditer(plain[2]) for name in each.groups()[1:] if name]
            if len(plain[2]) + sum(len(values.get(name, "")) for name in uses) > _LONGEST:
                return f"line {number}: its value is longer than any kernel's command line", number
            if unknown.intersection(uses):
                unknown.add(plain[1])
            else:
                unknown.discard(plain[1])
                values[plain[1]] = _value(plain[2], values)
                seen.append((number, plain[1], values[plain[1]]))
    lost = sorted(unknown & set(WANTED))
    return (f"a command makes the value of {lost[0]}, and only a shell knows it" if lost else ""), 0


def _logical(text: str) -> Iterator[tuple[int, str]]:
    """Lines by number, with those joined that end in a backslash; sh does not join in comments and single quotes, nor is it done here."""
    parts: list[str] = []
    first, joins = 0, True
    for number, line in enumerate(text.split("\n"), 1):
        first = first or number
        joins = joins and "#" not in line and "'" not in line
        # An odd number of backslashes: what was joined before ends in an even one.
        if joins and (len(line) - len(line.rstrip("\\"))) % 2:
            parts.append(line[:-1])
        else:
            yield first, "".join((*parts, line))
            parts, first, joins = [], 0, True
    if first:
        yield first, "".join((*parts, "\\"))


def _value(written: str, values: dict[str, str]) -> str:
    """What sh makes of a plain value."""
    return "".join(_unquoted(part, values) for part in _PART.findall(written))


def _unquoted(part: str, values: dict[str, str]) -> str:
    if part.startswith("'"):
        return part[1:-1]
    if not part.startswith('"'):
        return part.removeprefix("\\")

    def put(match: re.Match[str]) -> str:
        escaped, braced, bare = match.groups()
        if escaped is not None:
            return escaped if escaped in '$`"\\' else f"\\{escaped}"
        return values.get(braced or bare, "")

    return _VARIABLE.sub(put, part[1:-1])


def _open_quote(text: str) -> bool:
    """Whether a quote is surely open at the end; comments and what is escaped do not count. Where quotes can nest, nothing is sure."""
    if any(sign in text for sign in ("$(", "${", "`", "<<")):
        return False
    quote = ""
    place = 0
    while place < len(text):
        char = text[place]
        if char == "\\" and quote != "'":
            place += 1
        elif quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char == "#" and (place == 0 or text[place - 1] in " \t\n;&|()<>"):
            place = text.find("\n", place)
            if place < 0:
                return False
        place += 1
    return bool(quote)
