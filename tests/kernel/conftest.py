"""Fixtures: the machines, each booted once, all of a machine's starts in that one boot."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.kernel.cases import IOMMU, NO_IOMMU
from tests.kernel.image import SUITE, Images, make_images
from tests.kernel.machine import Outcome, boot
from tests.node.builds import Builds

Outcomes = Callable[[str], Outcome]


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Images:
    builds = Builds(SUITE, tmp_path_factory.mktemp("builds"))
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
