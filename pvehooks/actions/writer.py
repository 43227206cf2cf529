"""Writing an option into a guest's config: through qm on a node, by ourselves in a tree.

Both take the guest's lock, compare the digest under it, and leave the rest of the config as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol

from pvehooks.actions import qm
from pvehooks.actions.qm import Answer, Outcome
from pvehooks.facts import guests
from pvehooks.facts import node as node_facts
from pvehooks.formats import guestconfig
from pvehooks.facts.cluster import nodes as node_facts
from pvehooks.facts.guests import configs as guests
from pvehooks.facts.guests import running
from pvehooks.host import Host
from pvehooks.settings.sections import RngSettings
from pvehooks.values import Guest
from pvehooks.values.digests import sha1

# How long PVE itself waits for a guest's lock.
LOCK_TIMEOUT = 10.0
# What PVE changes on a running guest at once (qemu-server, QemuServer.pm, fast_plug_option), of the options that we write.
AT_ONCE = frozenset(("hookscript",))
NOTHING_ELSE: Mapping[str, str] = MappingProxyType({})


class Writer(Protocol):
    """Something that can set and take out an option of a guest; the digest is that of the config it was judged by.

    `along` are options that are set in the same change.
    """

    def precheck(self, guest: Guest) -> Answer: ...
    def set(self, guest: Guest, option: str, value: str, along: Mapping[str, str] = NOTHING_ELSE) -> Answer: ...
    def unset(self, guest: Guest, option: str) -> Answer: ...


def writer(host: Host, settings: RngSettings) -> Writer:
    """The writer for this host: a tree is always written by ourselves, a node through qm unless the settings say else."""
    if not host.is_node or settings.writer == "file":
        return FileWriter(host)
    return QmWriter(host)


class QmWriter(NamedTuple):
    """Through `qm set`, which knows pending changes, permissions and the cluster."""

    host: Host

    def precheck(self, guest: Guest) -> Answer:
        """Whether PVE reads all of the live part: what it cannot read it would lose when rewriting (`qm config`)."""
        if running.is_running(self.host, guest.vmid) is not guest.running:
            return Answer(Outcome.CHANGED, "the guest was started or stopped meanwhile")
        read = qm.config(self.host, guest.vmid)
        if isinstance(read, Answer):
            return read
        if read.complaints:
            return Answer(Outcome.LOSSY, f"{Outcome.LOSSY.value}: {read.complaints[0]}")
        live = set(guest.config.main if guest.config else ()) - {"description", "digest"}
        lost = sorted(live - set(read.options))
        if live and len(lost) == len(live):
            return Answer(Outcome.BROKEN, "qm config did not print the config")
        if lost:
            return Answer(Outcome.LOSSY, f"{Outcome.LOSSY.value}: qm config does not show '{lost[0]}'")
        return Answer(Outcome.DONE, "")

    def set(self, guest: Guest, option: str, value: str, along: Mapping[str, str] = NOTHING_ELSE) -> Answer:
        """Sets the options, '' takes one out; on a running guest most go to [PENDING]."""
        wanted = {option: value, **along}
        if not all(each.isascii() for each in wanted.values()):
            # It decodes them by the locale, and writes what comes of that as it is (pve-common, JSONSchema.pm, get_options).
            return Answer(Outcome.REFUSED, "qm would write the characters beyond ASCII in it as others")
        words = [word for name, each in wanted.items() for word in ((f"--{name}", each) if each else self._out(guest, name))]
        return qm.change(self.host, guest.vmid, words, guest.digest)

    def unset(self, guest: Guest, option: str) -> Answer:
        """Deletes the option, or takes it back where it is only pending."""
        return qm.change(self.host, guest.vmid, self._out(guest, option), guest.digest)

    @staticmethod
    def _out(guest: Guest, option: str) -> tuple[str, str]:
        live = guest.config is not None and option in guest.config.main
        return "--delete" if live else "--revert", option


class FileWriter(NamedTuple):
    """By ourselves, keeping every other byte; a running guest gets its change under [PENDING]."""

    host: Host

    def precheck(self, guest: Guest) -> Answer:
        """Nothing to ask: this writer loses no line."""
        return Answer(Outcome.DONE, "")

    def set(self, guest: Guest, option: str, value: str, along: Mapping[str, str] = NOTHING_ELSE) -> Answer:
        """Inserts a line for each option, in the place of the one that set it."""

        def edit(raw: bytes) -> bytes:
            for name, each in {option: value, **along}.items():
                there = guest.config is not None and name in guest.config.main
                later = guest.running and name not in AT_ONCE
                if there and not later:
                    raw = guestconfig.remove_line(raw, name)
                elif later and guest.config is not None and name in guest.config.pending:
                    raw = guestconfig.remove_line(raw, name, "PENDING")
                raw = guestconfig.insert_line(raw, name, each, "PENDING" if later else "")
            return raw

        return self._edit(guest, edit)

    def unset(self, guest: Guest, option: str) -> Answer:
        """Takes the one line out."""
        live = guest.config is not None and option in guest.config.main
        if live and guest.running and option not in AT_ONCE:
            return Answer(Outcome.REFUSED, f"{option} is in use by the running guest; stop it first")
        return self._edit(guest, lambda raw: guestconfig.remove_line(raw, option, "" if live else "PENDING"))

    def _edit(self, guest: Guest, edit: guestconfig.Edit) -> Answer:
        path = node_facts.config_path(guest.node, guest.vmid)
        try:
            with self.host.lock(f"/var/lock/qemu-server/lock-{guest.vmid}.conf", LOCK_TIMEOUT):
                raw = guests.read_raw(self.host, guest.node, guest.vmid)
                if sha1(raw).hex() != guest.digest:
                    return Answer(Outcome.CHANGED, "the config was changed meanwhile")
                lock = guestconfig.parse(raw).main.get("lock")
                if lock:
                    return Answer(Outcome.LOCKED, f"VM is locked ({lock})")
                self.host.replace(path, edit(raw))
        except guestconfig.EditError as error:
            return Answer(Outcome.REFUSED, str(error))
        except BlockingIOError:
            return Answer(Outcome.LOCKED, f"another program holds the lock of VM {guest.vmid}")
        except FileNotFoundError:
            return Answer(Outcome.GONE, f"the config of VM {guest.vmid} is gone")
        except PermissionError as error:
            return Answer(Outcome.WAITING, f"{path}: {error.strerror}")
        except OSError as error:
            return Answer(Outcome.BROKEN, f"{path}: {error.strerror}")
        return Answer(Outcome.DONE, "")
