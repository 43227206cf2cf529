"""The modules that a kernel has: its own, those that DKMS built for it, and what its initramfs holds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from pvehooks.facts.reading import content_of, names_in, text_of
from pvehooks.formats.initramfs import DamagedInitramfs
from pvehooks.host import CommandTrouble, Host, unpacking
from pvehooks.values import Unread
from pvehooks.values.boot import DkmsPackage, Initramfs, KernelModules

_DKMS = "/var/lib/dkms"
_LISTS_LIMIT = 1 << 24
_MODULE = re.compile(r"([^/\s:]+)\.ko(?:\.(?:xz|zst|gz))?(?=:|\s|\Z)")
# What the kernel's scripts/sign-file.c puts at the end.
_SIGNED = b"~Module signature appended~\n"
# Files of an initramfs.
_SETTINGS = re.compile(r"(?:etc|(?:usr/)?lib|run|usr/local/lib)/(?:modprobe\.d/[^/]+\.conf|systemd/network/[^/]+\.link)|conf/modules")
_ASSIGNMENT = re.compile(r"^\s*([A-Z_]+)(?:\[\d+\])?=(\"[^\"]*\"|'[^']*'|\S*)", re.MULTILINE)


def read(host: Host, release: str, now: Host, running: str) -> KernelModules:
    """What the kernel of this release has; `running` is the kernel that runs on the node as it is `now`."""
    lists = [content_of(host, f"/lib/modules/{release}/{name}", _LISTS_LIMIT) for name in ("modules.dep", "modules.builtin")]
    texts = [each.decode("ascii", "replace") for each in lists if not isinstance(each, Unread)]
    # A line of modules.dep names a module first and then those that it needs.
    lines = (line.partition(":")[0] for text in texts for line in text.split("\n"))
    own = frozenset(name for line in lines if "updates/" not in line and (name := module_name(line)))
    return KernelModules(own if texts else None, tuple(_packages(host, release, set(map(module_name, _installed(now, running))))))


def module_name(path: str) -> str:
    """The module that a file holds, '' for a file that is none."""
    match = _MODULE.search(path)
    return match[1].replace("-", "_") if match else ""


# -- DKMS (dkms(8)) -----------------------------------------------------------------------------------------------------


def _packages(host: Host, release: str, loadable: set[str]) -> Iterator[DkmsPackage]:
    """The newest version of each source that DKMS has; `loadable` are the modules that it installed for the running kernel."""
    for name in names_in(host, _DKMS):
        below = f"{_DKMS}/{name}"
        versions = [each for each in names_in(host, below) if not each.startswith("kernel-") and host.is_dir(f"{below}/{each}")]
        if not versions:
            continue
        version = next((each for each in reversed(versions) if host.is_dir(f"{below}/{each}/{release}")), versions[-1])
        settings = _settings(host, f"{below}/{version}/source/dkms.conf")
        modules = frozenset(_built_names(host, below, versions)) | frozenset(_named(settings, name, version))
        there = {module: path for path in _installed(host, release) if (module := module_name(path)) in modules}
        yield DkmsPackage(
            name,
            version,
            modules,
            bool(modules) and modules <= there.keys(),
            bool(modules) and modules <= loadable,
            _excluded(settings, release),
            _signed(host, there.values()),
        )


def _installed(host: Host, release: str) -> list[str]:
    """Where Debian's dkms puts modules."""
    folder = f"/lib/modules/{release}/updates/dkms"
    return [f"{folder}/{name}" for name in names_in(host, folder)]


def _built_names(host: Host, below: str, versions: list[str]) -> Iterator[str]:
    """The modules that were built for any kernel: VERSION/KERNEL/ARCHITECTURE/module/NAME.ko."""
    for version in versions:
        for kernel in names_in(host, f"{below}/{version}"):
            for architecture in names_in(host, f"{below}/{version}/{kernel}") if kernel not in ("build", "source") else ():
                yield from filter(None, map(module_name, names_in(host, f"{below}/{version}/{kernel}/{architecture}/module")))


def _settings(host: Host, path: str) -> list[tuple[str, str]]:
    return [(name, value.strip("\"'")) for name, value in _ASSIGNMENT.findall(text_of(host, path))]


def _named(settings: list[tuple[str, str]], name: str, version: str) -> Iterator[str]:
    for key, value in settings:
        if key == "BUILT_MODULE_NAME":
            filled = re.sub(r"\$\{?(PACKAGE_NAME|PACKAGE_VERSION)\}?", lambda match: name if match[1].endswith("NAME") else version, value)
            if filled and "$" not in filled:
                yield filled.replace("-", "_")


def _excluded(settings: list[tuple[str, str]], release: str) -> str:
    """Why DKMS does not build it for the kernel: dkms(8), AUTOINSTALL and BUILD_EXCLUSIVE_KERNEL."""
    known = dict(settings)
    pattern = known.get("BUILD_EXCLUSIVE_KERNEL", "")
    try:
        if pattern and "$" not in pattern.rstrip("$") and not re.search(pattern, release):
            return f"because its dkms.conf excludes it (BUILD_EXCLUSIVE_KERNEL={pattern})"
    except re.error:
        return ""
    return "" if not settings or known.get("AUTOINSTALL", "") else "because its dkms.conf has no AUTOINSTALL=yes"


def _signed(host: Host, paths: Iterable[str]) -> bool | None:
    known: list[bool | None] = []
    for path in paths:
        try:
            is_packed = unpacking.is_packed_module(path)
            end = unpacking.end_of_module(host, path) if is_packed else host.read_end(path, len(_SIGNED))[1]
            known.append(end.endswith(_SIGNED) if end or not is_packed else None)
        except (OSError, CommandTrouble, DamagedInitramfs):
            known.append(None)
    return False if False in known else None if None in known or not known else True


# -- the initramfs ------------------------------------------------------------------------------------------------------


def is_setting(name: str) -> bool:
    """Whether the text of a file of an initramfs is wanted."""
    return _SETTINGS.fullmatch(name) is not None


def initramfs(host: Host, release: str) -> Initramfs | Unread:
    """The kernel's initramfs, unpacked as far as is needed: the names of its modules, and the settings that it has copies of."""
    path = f"/boot/initrd.img-{release}"
    try:
        contents = unpacking.contents(host, path, is_setting)
    except FileNotFoundError:
        return Initramfs(path, "it is not there", frozenset(), {})
    except DamagedInitramfs as damaged:
        return Initramfs(path, str(damaged), frozenset(), {})
    except OSError as error:
        return Unread(f"{path}: {error.strerror}")
    except CommandTrouble as trouble:
        return Unread(f"{path}: {trouble}")
    modules = frozenset(filter(None, map(module_name, contents.names)))
    return Initramfs(
        path, "", modules, {f"/{name}": text.decode("utf-8", "replace") for name, text in contents.texts.items() if "\0" not in name}
    )
