"""Builds pvehooks; called by Debian's packaging and stdeb.

Programs, unit, man pages and other files are installed by debian/pvehooks.*, which both use: a unit among setup.py's own
data files is neither enabled nor started on Debian 12.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'^__version__ = "(.+)"$', (HERE / "pvehooks/__init__.py").read_text(encoding="utf-8"), re.MULTILINE)
assert VERSION is not None, "pvehooks/__init__.py has no __version__"
# stdeb generates the package's description from it: short lines, no markup.
LONG_DESCRIPTION = """\
A VM with a passed-through PCI device takes its whole IOMMU group from the
host: a hookscript checks each such start and refuses a harmful one.
UEFI VMs of Proxmox VE without an RNG device cannot boot from the network:
pvehooksd adds the rng0 that they need. pvehooks shows, explains, fixes
and undoes.
"""

setup(
    name="pvehooks",
    version=VERSION[1],
    description="guard for PCI passthrough, entropy for UEFI guests of Proxmox VE",
    long_description=LONG_DESCRIPTION,
    url="https://example.org/pvehooks",
    author="pvehooks developers",
    author_email="pvehooks@example.org",
    maintainer="pvehooks developers",
    maintainer_email="pvehooks@example.org",
    license="AGPL-3.0-or-later",
    platforms=["Linux"],
    python_requires=">=3.11",
    packages=find_packages(include=["pvehooks", "pvehooks.*"]),
    install_requires=["configobj", "pyinotify", "rich", "systemd-python"],
    # stdeb's own default never enables a service.
    options={"sdist_dsc": {"compat": "13"}},
    zip_safe=False,
)
