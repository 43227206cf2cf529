"""The former hookscript behind the stub: called as PVE would call it, with the package and without."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.hookscript.bed import ENVIRONMENT, LIBEXEC, PHASES, SNIPPETS, attach, call, config, install, script, witness

CHAINED = "pvehooks-guard-local+hook.pl"


@pytest.fixture(params=["without the package", "with the package"])
def package(request: pytest.FixtureRequest) -> bool:
    """Whether the package is there."""
    config("memory: 512\n")
    there: bool = request.param == "with the package"
    if there:
        install()
    return there


@pytest.mark.parametrize("status", [0, 1, 3, 127, 255])
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.usefixtures("package")
def test_called_as_pve_calls_it(phase: str, status: int) -> None:
    """Arguments, environment, directory, umask, descriptors, input, output, exit status are the same."""
    former = script(SNIPPETS / "hook.pl", witness("former", status))
    stub = attach(CHAINED)
    # Names that a script would use for itself are somebody's environment, too.
    environment = {"path": "/a/b", "status": "9", "name": "x", "LANG": "de_DE.UTF-8", "EMPTY": "", "WEIRD": "a b\n'c"}
    direct = call(former, "100", phase, **environment)
    chained = call(stub, "100", phase, **environment)
    assert chained.status == direct.status == status
    assert chained.out == direct.out
    assert [line for line in chained.err.splitlines() if not line.startswith("pvehooks is not installed")] == ["to stderr"]


def test_only_a_guest_without_its_guard_is_reported(package: bool) -> None:
    script(SNIPPETS / "hook.pl", witness())
    attach(CHAINED)
    attach()
    for name in (CHAINED, "pvehooks-guard"):
        for phase in PHASES:
            reported = (
                "pvehooks is not installed on this node: VM 100 starts without its guard\n" in call(SNIPPETS / name, "100", phase).err
            )
            assert reported is (phase == "pre-start" and not package)


@pytest.mark.parametrize("phase", PHASES)
def test_a_former_that_fails_refuses_a_start_before_anything_of_ours(phase: str) -> None:
    """In other phases the rest is run, and PVE warns as it did."""
    config("hostpci0: 0000:01:00.0\n")
    install()
    script(Path("/etc/pvehooks/hooks.d/more"), "#!/bin/sh\necho more $*\n")
    script(SNIPPETS / "hook.pl", "#!/bin/sh\necho no; exit 5\n")
    ran = call(attach(CHAINED), "100", phase)
    assert (ran.status, ran.out) == (5, "no\n" if phase == "pre-start" else f"no\nmore 100 {phase}\n")


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize(
    ("mode", "words"),
    [(None, "does not exist"), (0o644, "is not executable"), (0o40755, "does not exist")],
    ids=["gone", "mode", "directory"],
)
@pytest.mark.usefixtures("package")
def test_a_former_that_pve_would_not_run(phase: str, mode: int | None, words: str) -> None:
    """PVE's own words; an error before a start, a warning (for a script that failed) in other phases."""
    if mode == 0o40755:
        (SNIPPETS / "hook.pl").mkdir()
    elif mode is not None:
        script(SNIPPETS / "hook.pl", witness(), mode)
    ran = call(attach(CHAINED), "100", phase)
    assert (ran.status, ran.out) == (1, "")
    assert ran.err == f"script 'local:snippets/hook.pl' {words}\n"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
@pytest.mark.parametrize("phase", PHASES)
def test_killed_by_a_signal(phase: str, number: int) -> None:
    install()
    script(SNIPPETS / "hook.pl", f"#!/bin/sh\nkill -{number} $$\n")
    ran = call(attach(CHAINED), "100", phase)
    assert ran.status == 128 + number
    line = f"script 'local:snippets/hook.pl' ended with status {128 + number}, as one does that signal {number} ends"
    assert ran.err.splitlines().count(line) == 1


def test_no_limit_in_time() -> None:
    """A former that waits is waited for; when PVE's worker is ended, all of its process group is."""
    script(SNIPPETS / "hook.pl", "#!/bin/sh\necho waits\nexec sleep 60\n")
    stub = attach(CHAINED)
    process = subprocess.Popen([str(stub), "100", "pre-start"], env=ENVIRONMENT, stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    with process.stdout as out:
        assert out.readline() == b"waits\n"
        time.sleep(0.3)
        assert process.poll() is None
        os.killpg(process.pid, signal.SIGTERM)
        assert process.wait(60) != 0
        assert out.read() == b""


def test_a_clone_runs_the_same_former() -> None:
    """The hookscript line is cloned, backed up and restored with any VMID."""
    install()
    config("memory: 512\n", 9001)
    script(SNIPPETS / "hook.pl", "#!/bin/sh\necho $*\n")
    assert call(attach(CHAINED), "9001", "post-start").out == "9001 post-start\n"


def test_without_shebang() -> None:
    """perl and sh alike hand such a file to sh."""
    former = script(SNIPPETS / "hook.pl", "echo bare $*\n")
    assert call(attach(CHAINED), "100", "post-stop").out == "bare 100 post-stop\n"
    with pytest.raises(OSError, match="Exec format error"):
        call(former, "100", "post-stop")


@pytest.mark.parametrize(
    ("storage", "cfg", "path"),
    [
        ("local", "", "/var/lib/vz/snippets/hook.pl"),
        ("local", "dir: local\n\tpath /srv/one\n", "/var/lib/vz/snippets/hook.pl"),
        (
            "local",
            "dir: other\n\tpath /srv/two\n\ndir: local\n\tcontent-dirs iso=i,snippets=my/hooks,backup=b\n\n",
            "/var/lib/vz/my/hooks/hook.pl",
        ),
        ("store-2.x", "dir: store-2.x\n\tcontent snippets\n\tpath /srv/with a blank\n\tnodes pve1\n", "/srv/with a blank/snippets/hook.pl"),
        (
            "two",
            "# dir: two\n#\tpath /srv/no\n\ndir: one\n\tpath /srv/one\n\ndir:   two  \n    path   /srv/two  \n",
            "/srv/two/snippets/hook.pl",
        ),
        ("two", "dir: two\n\tpath /srv/two\n\ndir: three\n\tpath /srv/three\n\tcontent-dirs snippets=s\n", "/srv/two/snippets/hook.pl"),
        ("nas", "nfs: nas\n\texport /x\n\tpath /mnt/pve/nas\n\tserver 192.0.2.1\n", "/mnt/pve/nas/snippets/hook.pl"),
        ("odd", "esxi: odd\n\tserver 192.0.2.1\n", "/srv/asked/odd:snippets/hook.pl"),
        ("none", "dir: local\n\tpath /var/lib/vz\n", "/srv/asked/none:snippets/hook.pl"),
        ("many", "".join(f"dir: s{n}\n\tpath /srv/s{n}\n\n" for n in range(500)) + "dir: many\n\tpath /srv/m\n", "/srv/m/snippets/hook.pl"),
    ],
)
def test_where_the_former_lies(storage: str, cfg: str, path: str) -> None:
    """What storage.cfg tells is read; of all else PVE is asked."""
    Path("/etc/pve/storage.cfg").write_text(cfg)
    script(Path("/usr/sbin/pvesm"), '#!/bin/sh\n[ "$1" = path ] && echo "/srv/asked/$2"\n')
    script(Path(path), "#!/bin/sh\necho $0\n")
    assert call(attach(f"pvehooks-guard-{storage}+hook.pl"), "100", "post-stop").out == f"{path}\n"


def test_pve_does_not_know_the_storage() -> None:
    script(Path("/usr/sbin/pvesm"), "#!/bin/sh\necho \"storage 'gone' does not exist\" >&2; exit 255\n")
    ran = call(attach("pvehooks-guard-gone+hook.pl"), "100", "pre-start")
    assert ran.status == 1
    assert ran.err == "storage 'gone' does not exist\nscript 'gone:snippets/hook.pl' does not exist\n"


@pytest.mark.parametrize("name", ["a+b+c.sh", "with-dash_1.2", "x@y=z"])
def test_odd_names(name: str) -> None:
    script(SNIPPETS / name, "#!/bin/sh\necho ${0##*/}\n")
    assert call(attach(f"pvehooks-guard-local+{name}"), "100", "post-stop").out == f"{name}\n"


def test_a_stub_is_no_former() -> None:
    """Nobody makes one that runs itself; one made by hand does not go round for ever."""
    attach("pvehooks-guard-local+pvehooks-guard")
    ran = call(attach("pvehooks-guard-local+pvehooks-guard-local+x"), "100", "pre-start")
    assert ran.status == 0
    assert "it does not run itself once more" in ran.err


def test_strict_shells_have_nothing_to_complain_of() -> None:
    config("memory: 512\n")
    install()
    script(SNIPPETS / "hook.pl", "#!/bin/sh\nexit 4\n")
    attach(CHAINED)
    attach()
    for phase in PHASES:
        assert call(SNIPPETS / CHAINED, "100", phase, shell=["dash", "-eu"]) == (4, "", "")
        assert call(SNIPPETS / "pvehooks-guard", "100", phase, shell=["dash", "-eu"]) == (0, "", "")
        assert call(LIBEXEC / "hookscript", "100", phase, shell=["dash", "-eu"]) == (0, "", "")
