"""The ways of a message: what arrives there, what is said where it does not, and which programs are run."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pvehooks.host import Host
from pvehooks.journal.kind import ERR
from pvehooks.journal.outbox import Letter
from pvehooks.notify import channels
from pvehooks.notify.channels import PVE, hand_over
from pvehooks.notify.message import Message, compose
from tests.beds.notifying import PERL, PROGRAMS, NotifyBed

HOST = Host()
REFUSED = Letter("finding", "refused_starts", ERR, "VM 100 (web): its <disk> & 'bridge' are in use", 100, "", "pve1", 1_733_000_000.0)


@pytest.fixture
def message() -> Message:
    return compose([REFUSED, REFUSED._replace(option="errors", text="it cannot be written: ü", vmid=0)])


# -- Proxmox VE, and sendmail --------------------------------------------------------------------------------------------


def test_proxmox_ve_has_it_with_its_severity_and_fields(bed: NotifyBed, message: Message) -> None:
    bed.with_pve(f"webhook hook {bed.web.url}/pve", "sendmail mail-to-root")
    assert hand_over(HOST, PVE, message) == (True, "Proxmox VE's notifications have it, targets: hook, mail-to-root", "")
    (posted,) = bed.web.bodies()
    assert posted["severity"] == "error"
    assert posted["fields"] == {"type": "pvehooks", "hostname": "pve1", "event": "several"}
    assert posted["subject"] == "pvehooks on pve1: start refused: VM 100 (web); error of pvehooks"
    assert posted["text"].rstrip("\n") == message.text.rstrip("\n")
    assert "its <disk> & 'bridge' are in use" in posted["text"]
    assert "its &lt;disk&gt; &amp; &#x27;bridge&#x27; are in use</li>" in posted["html"]
    (mail,) = bed.mail.mails
    assert mail["Subject"] == posted["subject"]


def test_an_administrator_overrides_a_template(bed: NotifyBed, message: Message) -> None:
    bed.with_pve(f"webhook hook {bed.web.url}")
    own = Path("/etc/pve/notification-templates/default/pvehooks-body.txt.hbs")
    own.parent.mkdir(parents=True)
    own.write_text("{{#each groups}}{{#each events}}{{text}}|{{/each}}{{/each}} on {{fqdn}}")
    assert hand_over(HOST, PVE, message).done
    assert bed.web.bodies()[0]["text"] == "VM 100 (web): its <disk> & 'bridge' are in use|it cannot be written: ü| on pve1.example.com"


def test_one_target_of_two(bed: NotifyBed, message: Message) -> None:
    bed.with_pve(f"webhook hook {bed.web.url}", "webhook pager http://127.0.0.1:1/")
    result = hand_over(HOST, PVE, message)
    assert result.done
    assert result.words.endswith("targets: hook")
    assert result.missed.startswith("pager: 599")


def test_no_target_took_it(bed: NotifyBed, message: Message) -> None:
    bed.with_pve(f"webhook hook {bed.web.url}")
    bed.web.status = 503
    assert hand_over(HOST, PVE, message) == (False, "no target took it: hook: 503 Service Unavailable", "")


def test_no_matcher_wants_it(bed: NotifyBed, message: Message) -> None:
    bed.with_pve()
    assert hand_over(HOST, PVE, message) == (True, "Proxmox VE's notifications have it", "")


def test_pmxcfs_does_not_answer(bed: NotifyBed, message: Message) -> None:
    bed.with_pve(f"webhook hook {bed.web.url}")
    Path("/etc/pve/notifications.cfg").unlink()
    result = hand_over(HOST, PVE, message)
    assert not result.done
    assert result.words == "Proxmox VE's notifications: ipcc_send_rec[1] failed: Connection refused"


def test_without_proxmox_ve_root_gets_a_mail(bed: NotifyBed, message: Message) -> None:
    result = hand_over(HOST, PVE, message)
    assert result.done
    assert result.words.startswith("/usr/sbin/sendmail has it, for root (this node has no notifications of Proxmox VE)")
    (mail,) = bed.mail.mails
    assert mail["To"] == "root"
    assert mail["Subject"] == message.subject
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail.get_content().rstrip() == message.text.rstrip()


@pytest.mark.parametrize("age", ["8.1", "8.2"])
def test_proxmox_ve_of_an_age(age: str, bed: NotifyBed, message: Message) -> None:
    """8.1 takes texts where newer ones take the name of templates; neither has data that are common to all."""
    bed.with_pve(f"webhook hook {bed.web.url}", age=age)
    assert hand_over(HOST, PVE, message) == (True, "Proxmox VE's notifications have it, targets: hook", "")
    (posted,) = bed.web.bodies()
    assert (posted["severity"], posted["subject"], posted["fields"]["type"]) == ("error", message.subject, "pvehooks")
    assert posted["text"].strip() == message.text.strip()
    assert "its &lt;disk&gt; &amp; &#x27;bridge&#x27; are in use" in posted["html"]


def test_proxmox_ve_8_0_has_no_matchers(bed: NotifyBed, message: Message) -> None:
    bed.with_pve(f"webhook hook {bed.web.url}", age="8.0")
    words = hand_over(HOST, PVE, message).words
    assert words == "/usr/sbin/sendmail has it, for root (the notifications of this Proxmox VE have no matchers: it is older than 8.1)"
    assert not bed.web.posted


def test_a_name_that_cannot_be_resolved_keeps_nothing_back(bed: NotifyBed, message: Message) -> None:
    """Proxmox VE looks for the node's full name before."""
    bed.with_pve(f"webhook hook {bed.web.url}")
    text, line = (PERL / "Notify.pm").read_text(), "    return { hostname =>"
    assert line in text
    (PERL / "Notify.pm").write_text(text.replace(line, f"    die 'getaddrinfo: Name or service not known';\n{line}"))
    assert hand_over(HOST, PVE, message).done
    assert bed.web.bodies()[0]["subject"] == message.subject


def test_a_damaged_pve_notify(bed: NotifyBed, message: Message) -> None:
    bed.with_pve(f"webhook hook {bed.web.url}")
    (PERL / "Notify.pm").write_text("die 'upgrade half done';")
    assert "for root (PVE::Notify cannot be loaded: upgrade half done" in hand_over(HOST, PVE, message).words


@pytest.mark.parametrize(
    ("sendmail", "why"),
    [
        ("#!/bin/sh\necho 'cannot open maildrop' >&2\nexit 75\n", "/usr/sbin/sendmail ended with 75: cannot open maildrop"),
        (None, "and there is no /usr/sbin/sendmail"),
    ],
)
def test_a_sendmail_that_fails_or_is_not_there(bed: NotifyBed, message: Message, sendmail: str | None, why: str) -> None:
    if sendmail is None:
        Path(channels.SENDMAIL).unlink()
    else:
        Path(channels.SENDMAIL).write_text(sendmail)
    result = hand_over(HOST, PVE, message)
    assert not result.done
    assert result.words.endswith(why)


# -- programs of the node ---------------------------------------------------------------------------------------------


def test_a_program_gets_the_message_as_json(bed: NotifyBed, message: Message, tmp_path: Path) -> None:
    script = f'#!/bin/sh\ncat >{tmp_path}/given\necho "$MESSAGE_SEVERITY: $MESSAGE_SUBJECT" >{tmp_path}/environment\n'
    path = str(bed.program("log", script))
    assert channels.channels(HOST) == ([PVE, path], [])
    assert hand_over(HOST, path, message) == (True, f"{path} has it", "")
    given = json.loads((tmp_path / "given").read_text())
    assert given["version"] == 1
    assert given["subject"] == message.subject
    assert given["severity"] == "error"
    assert given["fields"]["type"] == "pvehooks"
    assert [event["text"] for group in given["groups"] for event in group["events"]] == [
        "VM 100 (web): its <disk> & 'bridge' are in use",
        "it cannot be written: ü",
    ]
    assert (tmp_path / "environment").read_text() == f"error: {message.subject}\n"


def test_a_program_that_fails(bed: NotifyBed, message: Message) -> None:
    path = str(bed.program("fails", "#!/bin/sh\necho no network >&2\nexit 3\n"))
    assert hand_over(HOST, path, message) == (False, f"{path} ended with 3: no network", "")


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda path: path.chmod(0o775), "can be written by others than root (chmod go-w {path})"),
        (lambda path: os.chown(path, 1, 0), "does not belong to root (chown root: {path})"),
        (lambda path: path.chmod(0o644), "is not an executable file"),
        (
            lambda path: (path.rename("/etc/pvehooks/real"), path.symlink_to("/etc/pvehooks/real")),
            "is a symbolic link: put the program itself there",
        ),
    ],
    ids=["writable", "owner", "mode", "link"],
)
def test_only_root_s_own_programs_are_run(bed: NotifyBed, message: Message, spoil: object, why: str, tmp_path: Path) -> None:
    path = bed.program("own", f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    spoil(path)  # type: ignore[operator]
    refused = f"{path} is not run: it {why.format(path=path)}"
    assert channels.channels(HOST) == ([PVE], [refused])
    assert hand_over(HOST, str(path), message) == (False, refused, "")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("directory", [PROGRAMS, PROGRAMS.parent])
def test_nothing_is_run_where_others_may_write(bed: NotifyBed, directory: Path) -> None:
    bed.program("own", "#!/bin/sh\n")
    directory.chmod(0o777)
    ways, refused = channels.channels(HOST)
    assert ways == [PVE]
    assert refused == [f"nothing in {PROGRAMS} is run: {directory} can be written by others than root (chmod go-w {directory})"]


def test_files_of_editors_and_dpkg_are_none(bed: NotifyBed) -> None:
    for name in ("own~", "own.dpkg-old", ".own.swp"):
        bed.program(name, "#!/bin/sh\n")
    assert channels.channels(HOST) == ([PVE], [])


def test_a_node_without_the_directory(bed: NotifyBed) -> None:
    PROGRAMS.rmdir()
    assert channels.channels(HOST) == ([PVE], [])
