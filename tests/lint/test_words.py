"""Nothing in the checkout names the machine it was written on, a registry's host, or an issue by its number."""

from __future__ import annotations

import re

from tests.lint.source import files, label

# Put together from parts, so that this file does not name them either.
MACHINE = [f"{slash}{name}/" for slash in ("/",) for name in ("work", "tmp/pve-real", "home")]
REGISTRIES = [f"{name}.org" for name in ("deb.debian", "snapshot.debian", "security.debian", "pypi", "pythonhosted")]
ANYWHERE = re.compile(rf"(?<![\w}}.])(?:{'|'.join(map(re.escape, MACHINE))})|\b(?:issue|PR)s? ?#?\d+\b", re.IGNORECASE)
REGISTRY = re.compile("|".join(map(re.escape, REGISTRIES)))
# It tells people where Debian's packages come from.
MAY_NAME_REGISTRIES = {"README.md"}


def test_no_file_names_what_only_its_authors_know() -> None:
    found = []
    for path in files():
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(lines, 1):
            match = ANYWHERE.search(line) or (label(path) not in MAY_NAME_REGISTRIES and REGISTRY.search(line))
            if match:
                found.append(f"{label(path)}:{number}: {match[0]}")
    assert not found, "\n".join(found)
