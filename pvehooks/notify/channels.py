"""The ways a message goes: Proxmox VE's notifications, or sendmail where it has none, and the node's own programs in /etc/pvehooks/notify.d."""

from __future__ import annotations

import json
import os
import re
import stat
from email.message import EmailMessage
from email.policy import SMTP
from typing import NamedTuple

import pvehooks
from pvehooks.host import CommandTrouble, Host
from pvehooks.notify.message import Message
from pvehooks.wording import and_more

PVE = "Proxmox VE"
PROGRAMS = "/etc/pvehooks/notify.d"
SENDMAIL = "/usr/sbin/sendmail"
# Of a target that does not answer, proxmox-notify waits for some seconds; there may be several.
_PVE_SECONDS = 120.0
_SENDMAIL_SECONDS = 30.0
_PROGRAM_SECONDS = 30.0
# What proxmox-notify logs of each target (lib.rs, Bus::send).
_REACHED = re.compile(r"notified via target `?'?([\w.-]+)")
_FAILED = re.compile(r"could not notify via target [`']?([\w.-]+)[`']?[:,] ?(.*)")
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_LONGEST = 300


class HandOver(NamedTuple):
    """What became of a message on one way."""

    # Whether at least one target has it.
    done: bool
    # Which have it, or why none has.
    words: str
    # Which did not take it, with the reason, although others have it; '' for none.
    missed: str = ""


def hand_over(host: Host, channel: str, message: Message) -> HandOver:
    """Hands the message over on one of the ways that channels() names."""
    try:
        return _by_pve(host, message) if channel == PVE else _by_program(host, channel, message)
    except CommandTrouble as trouble:
        return HandOver(False, str(trouble))


def channels(host: Host) -> tuple[list[str], list[str]]:
    """The ways, and which programs are none, with the reason why."""
    programs, refused = trusted_programs(host)
    return [PVE, *programs], refused


# -- Proxmox VE, and sendmail --------------------------------------------------------------------------------------------


def _by_pve(host: Host, message: Message) -> HandOver:
    asked = {"severity": message.severity, "fields": message.fields, "data": message.data}
    program = _program(host)
    done = host.run([program], _PVE_SECONDS, given=json.dumps(asked).encode())
    try:
        answer = json.loads(done.stdout)
        outcome, words = str(answer["outcome"]), str(answer["words"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return HandOver(False, f"{program} ended with {done.status}: {_short(done.stderr)}")
    if outcome == "absent":
        return _by_sendmail(host, message, words)
    if outcome != "handed":
        return HandOver(False, f"Proxmox VE's notifications: {_short(words)}")
    reached = list(dict.fromkeys(_REACHED.findall(done.stderr)))
    failed = {name: _short(why) for name, why in _FAILED.findall(done.stderr)}
    missed = "; ".join(f"{name}: {why}" for name, why in failed.items())
    if failed and not reached:
        return HandOver(False, f"no target took it: {missed}")
    words = f"Proxmox VE's notifications have it, targets: {and_more(reached)}" if reached else "Proxmox VE's notifications have it"
    return HandOver(True, words, missed)


def _by_sendmail(host: Host, message: Message, why: str) -> HandOver:
    if not host.exists(SENDMAIL):
        return HandOver(False, f"{_short(why)}, and there is no {SENDMAIL}")
    mail = EmailMessage(policy=SMTP.clone(linesep="\n", cte_type="7bit"))
    mail["From"] = mail["To"] = "root"
    mail["Subject"] = message.subject
    # RFC 3834: no one's holiday notice answers it.
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(message.text)
    done = host.run([SENDMAIL, "-i", "root"], _SENDMAIL_SECONDS, given=mail.as_bytes())
    if done.status:
        return HandOver(False, f"{SENDMAIL} ended with {done.status}: {_short(done.stderr)}")
    return HandOver(True, f"{SENDMAIL} has it, for root ({_short(why)})")


def _program(host: Host) -> str:
    """libexec/pve-notify: of the package, or beside the checkout that runs."""
    here = f"{os.path.dirname(os.path.dirname(pvehooks.__file__))}/libexec/pve-notify"
    return here if host.exists(here) else "/usr/libexec/pvehooks/pve-notify"


# -- programs of the node ---------------------------------------------------------------------------------------------


def trusted_programs(host: Host) -> tuple[list[str], list[str]]:
    """The programs that only root can write, and for the others why they are not run; names as run-parts(8) takes them."""
    for path in ("/", "/etc", "/etc/pvehooks", PROGRAMS):
        try:
            why = _untrusted(host, path)
        except OSError:
            return [], []
        if why:
            return [], [f"nothing in {PROGRAMS} is run: {path} {why}"]
    found, refused = [], []
    for name in sorted(filter(_NAME.fullmatch, host.names(PROGRAMS))):
        path = f"{PROGRAMS}/{name}"
        try:
            why = _untrusted(host, path) or _unfit(host, path)
        except OSError as error:
            why = f"cannot be looked at: {error.strerror}"
        if why:
            refused.append(f"{path} is not run: it {why}")
        else:
            found.append(path)
    return found, refused


def _untrusted(host: Host, path: str) -> str:
    """Why it is not root's alone, '' if it is."""
    mode, owner, _, _ = host.attributes(path)
    if owner != 0:
        return f"does not belong to root (chown root: {path})"
    if stat.S_ISLNK(mode):
        return "is a symbolic link: put the program itself there"
    return f"can be written by others than root (chmod go-w {path})" if mode & 0o022 or host.has_acl(path) else ""


def _unfit(host: Host, path: str) -> str:
    mode, _, _, _ = host.attributes(path)
    return "" if stat.S_ISREG(mode) and mode & 0o111 else "is not an executable file"


def _by_program(host: Host, path: str, message: Message) -> HandOver:
    trusted, refused = trusted_programs(host)
    if path not in trusted:
        return HandOver(False, next((why for why in refused if path in why or "nothing" in why), f"{path} is not there any more"))
    given = json.dumps({"version": 1, **message.data, "fields": message.fields}, indent=2).encode()
    environment = {"MESSAGE_SUBJECT": message.subject, "MESSAGE_SEVERITY": message.severity}
    done = host.run([path], _PROGRAM_SECONDS, environment, given)
    if done.status:
        return HandOver(False, f"{path} ended with {done.status}: {_short(done.stderr)}")
    return HandOver(True, f"{path} has it")


def _short(words: str) -> str:
    """The last words of a program: what it failed with stands there."""
    text = " ".join(words.split())
    return text if len(text) <= _LONGEST else f"[...] {text[-_LONGEST:]}"
