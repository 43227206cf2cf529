"""The packages of the checkout, built in a suite's own tools, and the repositories that offer them."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from tests.node.trees import BUILD, PROJECT, make_tree, run_in

OLDER = "0.0.9"
KEY = "throw-away@example.org"
_MAKE_REPO = f"""
export GNUPGHOME=/key
chmod 700 /key
gpg --list-secret-keys '{KEY}' 2>/dev/null || gpg --batch --quiet --passphrase '' --quick-generate-key '{KEY}' ed25519 sign never
URL=file:/srv/repo sh /srv/pvehooks/scripts/repo {KEY} /out
"""


class Builds:
    """What a suite's build system makes of the checkout, each thing once. `directory` is shared by all."""

    def __init__(self, suite: str, directory: Path) -> None:
        self.suite = suite
        self.tree = make_tree(suite, "build", BUILD)
        self._directory = directory
        self._built: dict[str, Path] = {}

    def _build(self, name: str, arguments: str = "", project: Path = PROJECT) -> Path:
        if name not in self._built:
            out = self._directory / name
            out.mkdir()
            binds = [f"--bind={out}:/out", f"--bind-ro={project}:/srv/project"]
            done = run_in(self.tree, f"sh /srv/project/scripts/deb {arguments} /out", binds)
            assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
            (self._built[name],) = out.glob("*_all.deb")
        return self._built[name]

    @property
    def deb(self) -> Path:
        """The package, by dpkg-buildpackage; beside it its source and its .changes."""
        return self._build("deb")

    @property
    def stdeb(self) -> Path:
        """The package, by stdeb from setup.py's tarball."""
        return self._build("stdeb", "--stdeb")

    @property
    def older(self) -> Path:
        """An older version of the package, which had another text in its conffile."""
        copy = self._directory / "older-source"
        if not copy.exists():
            ignore = shutil.ignore_patterns(".git", "__pycache__", ".*_cache", ".hypothesis", "*.egg-info")
            shutil.copytree(PROJECT, copy, symlinks=True, ignore=ignore)
            changelog = copy / "debian/changelog"
            changelog.write_text(re.sub(r"^pvehooks \([^)]*\)", f"pvehooks ({OLDER})", changelog.read_text(), count=1))
            conf = copy / "etc/pvehooks.conf"
            conf.write_text("# As it was in an older version.\n" + conf.read_text())
        return self._build("older", project=copy)

    def lintian(self, package: Path) -> str:
        """What lintian says of a .deb or a .changes, pedantic and without a filter."""
        done = run_in(self.tree, f"lintian --pedantic --allow-root /out/{package.name}", [f"--bind={package.parent}:/out"])
        assert done.returncode in (0, 2), done.stdout + done.stderr
        return "\n".join(line for line in done.stdout.splitlines() if re.match(r"[EWIPX]: ", line))

    def repository(self, *packages: Path) -> Path:
        """A signed repository made by `make repo`, to which the packages were added one after the other; the last is offered.

        All have one throw-away key, so that a later one is taken by apt for the same repository.
        """
        out = self._directory / "-then-".join(["repository", *(f"{package.parent.name}-{package.stem}" for package in packages)])
        if not out.exists():
            if len(packages) > 1:
                shutil.copytree(self.repository(*packages[:-1]), out)
            out.mkdir(exist_ok=True)
            key = self._directory / "key"
            key.mkdir(exist_ok=True)
            binds = [f"--bind={out}:/out", f"--bind={key}:/key", f"--bind-ro={packages[-1].parent}:/packages"]
            done = run_in(self.tree, f"{_MAKE_REPO.rstrip()} /packages/{packages[-1].name}", binds)
            assert done.returncode == 0, done.stdout + done.stderr
        return out
