"""The package as a file: what is in it, both ways of building it, and what lintian says."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from pvehooks import __version__
from tests.node.builds import Builds
from tests.node.trees import PROJECT

# They come from debian/changelog, which stdeb writes itself.
OF_THE_CHANGELOG = re.compile(r"\./usr/share/doc/pvehooks/(changelog|changelog\.Debian|NEWS\.Debian)\.gz")
WANTED = """\
./etc/pvehooks/pvehooks.conf
./usr/lib/python3/dist-packages/pvehooks/daemon/main.py
./usr/lib/systemd/catalog/pvehooks.catalog
./usr/lib/systemd/system/pvehooks-return.path
./usr/lib/systemd/system/pvehooks-return.service
./usr/lib/systemd/system/pvehooks.service
./usr/lib/systemd/system/pvehooks-notify.path
./usr/lib/systemd/system/pvehooks-notify.service
./usr/lib/systemd/system/sysinit.target.d/pvehooks-bind.conf
./usr/libexec/pvehooks/notify
./usr/libexec/pvehooks/pve-notify
./usr/libexec/pvehooks/pve-schema
./usr/libexec/pvehooks/pve-writer
./usr/sbin/pvehooks
./usr/sbin/pvehooksd
./usr/share/bash-completion/completions/pvehooks
./usr/share/doc/pvehooks/copyright
./usr/share/man/man5/pvehooks-json.5.gz
./usr/share/man/man5/pvehooks.conf.5.gz
./usr/share/man/man7/pvehooks-rules.7.gz
./usr/share/man/man8/pvehooks.8.gz
./usr/share/man/man8/pvehooksd.8.gz
./usr/share/pve-manager/templates/default/pvehooks-body.txt.hbs
./usr/share/pvehooks/schema.json
""".splitlines()


def dpkg_deb(*words: object) -> str:
    return subprocess.run(["dpkg-deb", *map(str, words)], capture_output=True, text=True, check=True).stdout


def contents(package: Path) -> dict[str, str]:
    """Path -> mode, owner and target of a link."""
    lines = (line.split(maxsplit=5) for line in dpkg_deb("--contents", package).splitlines())
    return {name.split(" -> ")[0]: f"{mode} {owner} {name.partition(' -> ')[2]}" for mode, owner, _, _, _, name in lines}


def control(package: Path, directory: Path) -> dict[str, str]:
    """The maintainer scripts and the list of conffiles."""
    dpkg_deb("--control", package, directory)
    return {path.name: path.read_text() for path in directory.iterdir() if path.name not in ("control", "md5sums")}


def test_it_holds_what_it_should(builds: Builds) -> None:
    inside = contents(builds.deb)
    assert set(WANTED) <= inside.keys(), set(WANTED) - inside.keys()
    assert {name.split("/")[1] for name in inside} == {"", "etc", "usr"}, (
        "where /usr is merged, dpkg does not get rid of /lib/systemd/system"
    )
    modules = {f"./usr/lib/python3/dist-packages/{path.relative_to(PROJECT)}" for path in (PROJECT / "pvehooks").rglob("*.py")}
    assert modules == {name for name in inside if name.endswith(".py")}
    assert not [name for name in inside if "__pycache__" in name or "/tests/" in name]


def test_the_environment_does_not_choose_the_code(builds: Builds, tmp_path: Path) -> None:
    """As they are in the checkout: isolated. What builds packages may change the first line of a program."""
    dpkg_deb("--extract", builds.deb, tmp_path)
    for name in ("pvehooks", "pvehooksd"):
        lines = (tmp_path / "usr/sbin" / name).read_text().splitlines()
        assert lines == (PROJECT / "sbin" / name).read_text().splitlines()
        assert lines[0] == "#!/usr/bin/python3 -I"


def test_both_ways_of_building_give_the_same(builds: Builds, tmp_path: Path) -> None:
    first, second = (
        {name: about for name, about in contents(one).items() if not OF_THE_CHANGELOG.fullmatch(name)} for one in (builds.deb, builds.stdeb)
    )
    assert first == second
    trees = []
    for number, package in enumerate((builds.deb, builds.stdeb)):
        tree = tmp_path / str(number)
        dpkg_deb("--extract", package, tree)
        trees.append({str(path.relative_to(tree)): path.read_bytes() for path in sorted(tree.rglob("*")) if path.is_file()})
    differ = {name for name in trees[0] if name in trees[1] and trees[0][name] != trees[1][name]}
    assert {name for name in differ if not OF_THE_CHANGELOG.fullmatch(f"./{name}")} <= {
        next(name for name in trees[0] if name.endswith("PKG-INFO"))
    }
    scripts = [control(package, tmp_path / f"control-{number}") for number, package in enumerate((builds.deb, builds.stdeb))]
    assert scripts[0] == scripts[1] and {"postinst", "prerm", "postrm", "conffiles"} <= scripts[0].keys()
    depends = [set(dpkg_deb("--field", package, "Depends").strip().split(", ")) for package in (builds.deb, builds.stdeb)]
    assert depends[0] == depends[1]
    assert {"python3-pyinotify", "python3-systemd", "python3-configobj", "python3:any", "perl:any"} <= depends[0]


def test_it_is_for_all_architectures_and_of_this_version(builds: Builds) -> None:
    fields = dpkg_deb("--field", builds.deb, "Package", "Version", "Architecture").splitlines()
    assert fields == ["Package: pvehooks", f"Version: {__version__}", "Architecture: all"]


def test_lintian(builds: Builds) -> None:
    (changes,) = builds.deb.parent.glob("*.changes")
    assert builds.lintian(changes) == ""


def test_lintian_has_no_errors_for_stdeb(builds: Builds) -> None:
    """Its warnings are about what stdeb makes: NEWS has no entry of its version."""
    tags = builds.lintian(builds.stdeb).splitlines()
    assert [line for line in tags if "debian-news-entry-has-unknown-version" not in line] == []


def test_another_build_of_the_same_version_is_refused(builds: Builds, tmp_path: Path) -> None:
    """A node that has the version would never get it."""
    changed = tmp_path / "changed" / builds.deb.name
    changed.parent.mkdir()
    changed.write_bytes(builds.deb.read_bytes() + b"\n")
    with pytest.raises(AssertionError, match="is another build of the same version"):
        builds.repository(builds.deb, changed)
