"""The changes of a plan while it is made: texts of files, and which commands follow. Nothing is written here."""

from __future__ import annotations

import stat
from collections.abc import Callable

from pvehooks.actions.host import texts
from pvehooks.actions.host.preview import Preview
from pvehooks.actions.host.texts import ByHand
from pvehooks.derived.kernel_args import differences, loader_of, plans
from pvehooks.facts.boot import cmdline
from pvehooks.host import Host
from pvehooks.values import NamedTuple, Node, Unread
from pvehooks.values.boot import CommandLines, Loader

MODULES_DIRECTORY = "/etc/modules-load.d"
OUR_MODULES = f"{MODULES_DIRECTORY}/pvehooks.conf"
MODULES = "/etc/modules"
_DPKG = "/var/lib/dpkg/info"
_LONGEST = 1 << 16


class State(NamedTuple):
    """Files to be changed, with their bytes before and after (None for one that does not exist), and what has to follow."""

    files: dict[str, tuple[bytes | None, bytes | None]]
    initramfs: bool = False
    refresh: bool = False
    restart: bool = False


class Draft:
    """The changes to a node; `state` can be saved and restored."""

    def __init__(self, host: Host, node: Node) -> None:
        self.host = host
        self.node = node
        self.state = State({})

    # -- files --------------------------------------------------------------------------------------------------------

    def text(self, path: str) -> str:
        """The file's text after the changes so far, '' if it does not exist; raises ByHand for a file that must not be edited."""
        changed = self.state.files.get(path)
        content = changed[1] if changed else self._content(path)
        return (content or b"").decode("utf-8", "surrogateescape")

    def write(self, path: str, text: str) -> None:
        """Changes the file, if the text differs from what it has."""
        self._put(path, text.encode("utf-8", "surrogateescape"))

    def remove(self, path: str) -> None:
        """Removes the file, if it exists."""
        self._put(path, None)

    def _put(self, path: str, content: bytes | None) -> None:
        before = self.state.files[path][0] if path in self.state.files else self._content(path)
        files = {each: pair for each, pair in self.state.files.items() if each != path}
        self.state = self.state._replace(files=files if content == before else {**files, path: (before, content)})

    def names(self, directory: str, ending: str) -> list[str]:
        """The paths of a directory's files with this ending; raises ByHand."""
        try:
            return [f"{directory}/{name}" for name in self.host.names(directory) if name.endswith(ending)]
        except FileNotFoundError:
            raise ByHand(f"there is no {directory}") from None
        except OSError as error:
            raise ByHand(f"{directory}: {error.strerror}") from error

    def preview(self) -> Preview:
        """The host with the files as they will be."""
        return Preview(self.host, {path: after for path, (_, after) in self.state.files.items()})

    def _content(self, path: str) -> bytes | None:
        require_editable(self.host, path)
        try:
            content = self.host.read(path, _LONGEST)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ByHand(f"{path}: {error.strerror}") from error
        if b"\r" in content:
            raise ByHand(f"{path} has line ends of Windows; remove them first: sed -i 's/\\r$//' {path}")
        if len(content) > _LONGEST or b"\0" in content:
            raise ByHand(f"{path} is too long, or not a text file")
        return content

    # -- arguments of the kernel --------------------------------------------------------------------------------------

    def loader(self) -> Loader:
        """The boot loader; raises ByHand if it is unknown, or if an unknown program makes its menu."""
        loader = loader_of(self.node)
        if loader is None:
            raise ByHand("the boot loader of this node is unknown")
        if loader.kind != "grub" and not loader.managed:
            raise ByHand("systemd-boot is not kept by proxmox-boot-tool here")
        return loader

    def arguments(self) -> tuple[str, ...]:
        """The kernel arguments of the boot loader's file after the changes so far; raises ByHand."""
        loader = self.loader()
        lines = cmdline.read(self.preview(), loader)
        plan = None if isinstance(lines, Unread) else plans(lines, loader)[0]
        if plan is None:
            raise ByHand(f"{loader.file} is not there")
        if isinstance(plan.words, Unread):
            raise ByHand(plan.words.why)
        if plan.broken:
            raise ByHand(f"{plan.place}: {plan.broken}")
        return plan.words

    def add_argument(self, word: str) -> None:
        """Adds a kernel argument; raises ByHand."""
        self._change((*self.arguments(), word), lambda line: texts.appended(line, word), texts.GRUB_VARIABLES[:1])

    def drop_values(self, name: str, unwanted: Callable[[str], bool]) -> None:
        """Removes unwanted values of a kernel argument; raises ByHand."""
        left = tuple(texts.words_without(self.arguments(), name, unwanted))
        self._change(left, lambda line: texts.without(line, name, unwanted), texts.GRUB_VARIABLES)

    def change_arguments(self, wanted: tuple[str, ...], change: texts.Edit) -> None:
        """Has `change` edit the line of arguments, which must give the wanted ones; raises ByHand."""
        self._change(wanted, change, texts.GRUB_VARIABLES)

    def _change(self, wanted: tuple[str, ...], change: texts.Edit, variables: tuple[str, ...]) -> None:
        loader, before = self.loader(), self.arguments()
        if sorted(wanted) == sorted(before):
            return
        text = self.text(loader.file)
        try:
            if loader.kind == "grub":
                for variable in variables:
                    if len(variables) == 1 or texts.grub_sets(text, variable):
                        text = texts.grub_changed(text, variable, change)
            else:
                text = texts.cmdline_changed(text, change)
        except ByHand as why:
            raise ByHand(f"{loader.file}: {why}") from why
        self.write(loader.file, text)
        if sorted(self.arguments()) != sorted(wanted):
            raise ByHand(f"a file of /etc/default/grub.d changes the arguments as well, or {loader.file} has an unusual form")

    def require_refresh(self) -> None:
        """Requires a restart, and before it a new boot menu, unless the menu is known to be right."""
        loader = self.loader()
        lines = self.node.command_lines
        menu = lines.written if isinstance(lines, CommandLines) else Unread("")
        right = not isinstance(menu, Unread) and bool(menu) and differences(self.arguments(), menu[0].words) == ([], [])
        self.state = self.state._replace(refresh=self.state.refresh or not right or loader.file in self.state.files, restart=True)

    def refresh_menu(self) -> None:
        """Requires a new boot menu; raises ByHand if it is unknown how to make one."""
        self.loader()
        self.state = self.state._replace(refresh=True, restart=True)

    def require_restart(self) -> None:
        """Requires a restart."""
        self.state = self.state._replace(restart=True)

    # -- modules ------------------------------------------------------------------------------------------------------

    def comment_out(self, path: str, taken_out: Callable[[list[str]], str | None]) -> None:
        """Turns lines of a file in /etc into comments; raises ByHand, also if there are none."""
        if not path.startswith("/etc/"):
            raise ByHand(f"{path} is not a file of /etc")
        text = self.text(path)
        try:
            new = texts.lines_without(text, taken_out)
        except ByHand as why:
            raise ByHand(f"{path}: {why}") from why
        self.write(path, new)

    def replace_line(self, path: str, number: int, text: str, lines: list[str]) -> None:
        """Replaces a line of a file in /etc, which stays as a comment; raises ByHand, also if the line is not as it was read."""
        old = self.text(path).split("\n")
        if number > len(old) or old[number - 1] != text:
            raise ByHand(f"line {number} of {path} is part of a longer one")
        self.write(path, "\n".join((*old[: number - 1], f"{texts.MARK}{text}", *lines, *old[number:])))

    def load_at_boot(self, module: str) -> str:
        """Loads the module at boot; returns the file that does it. Raises ByHand."""
        if self.host.is_dir(MODULES_DIRECTORY):
            path = OUR_MODULES
            start = self.text(path) or "# Written by pvehooks host fix.\n"
        else:
            path, start = MODULES, self.text(MODULES)
        self.write(path, f"{start}{'' if not start or start.endswith(chr(10)) else chr(10)}{module}\n")
        return path

    def rebuild_initramfs(self) -> None:
        """Requires a new initramfs, which takes effect at the next boot."""
        self.state = self.state._replace(initramfs=True, restart=True)


def require_editable(host: Host, path: str) -> None:
    """Raises ByHand unless the path is a plain file that the administrator may edit."""
    if host.real(path) != path:
        raise ByHand(f"{path} is a symbolic link, or lies behind one: {host.real(path)}")
    try:
        mode, _, _, links = host.attributes(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise ByHand(f"{path}: {error.strerror}") from error
    if not stat.S_ISREG(mode) or links > 1:
        raise ByHand(f"{path} is {'a file with several names (hard links)' if stat.S_ISREG(mode) else 'not a plain file'}")
    owner = _package(host, path)
    if owner:
        raise ByHand(f"{path} belongs to the package {owner}, and is not a conffile: its next version would overwrite a change")


def _package(host: Host, path: str) -> str:
    """The package that owns the file, unless as a conffile; '' for none (dpkg's own files, as dpkg-query -S reads them)."""
    try:
        names = [name for name in host.names(_DPKG) if name.endswith(".list")]
    except OSError:
        return ""
    line = path.encode("utf-8", "surrogateescape")
    for name in names:
        try:
            if line not in host.read(f"{_DPKG}/{name}", 1 << 24).split(b"\n"):
                continue
        except OSError:
            continue
        package = name.removesuffix(".list")
        try:
            conffiles = host.read(f"{_DPKG}/{package}.conffiles", 1 << 20).split(b"\n")
        except OSError:
            conffiles = []
        if line not in conffiles:
            return package.partition(":")[0]
    return ""
