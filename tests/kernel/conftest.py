"""Fixtures: the machines, each booted once, all of a machine's starts in that one boot."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.kernel.cases import IOMMU, NO_IOMMU
from tests.kernel.image import SUITE, Images, make_images
from tests.kernel.machine import Outcome, boot
from tests.kernel.rebooting import Boots
from tests.node.builds import Builds
from tests.node.trees import make_node_tree

Outcomes = Callable[[str], Outcome]
AtBoot = Callable[[int], Outcome]


@pytest.fixture(scope="session")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Builds:
    return Builds(SUITE, tmp_path_factory.mktemp("builds"))


@pytest.fixture(scope="session")
def images(builds: Builds, tmp_path_factory: pytest.TempPathFactory) -> Images:
    return make_images(builds.deb, tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="session")
def outcomes(images: Images, tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """outcomes(MACHINE): what that machine has told."""
    found: dict[str, Outcome] = {}

    def outcome(kind: str) -> Outcome:
        if kind not in found:
            found[kind] = boot(images, tmp_path_factory.mktemp(kind), kind)
        return found[kind]

    return outcome


@pytest.fixture(scope="session")
def machine(outcomes: Outcomes) -> Outcome:
    """The one with an IOMMU."""
    return outcomes(IOMMU)


@pytest.fixture(scope="session")
def plain_machine(outcomes: Outcomes) -> Outcome:
    """The one without."""
    return outcomes(NO_IOMMU)


@pytest.fixture(scope="session")
def at_boot(images: Images, builds: Builds, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AtBoot]:
    """at_boot(NUMBER): what the machine that keeps its disk has told in that boot; those before it come first."""
    boots = Boots(images, tmp_path_factory.mktemp("rebooting"), make_node_tree(SUITE, builds.deb))
    yield boots.outcome
    boots.close()
