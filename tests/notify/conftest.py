"""A node whose messages arrive on loopback."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.beds.notifying import NotifyBed, notify_bed


@pytest.fixture
def bed() -> Iterator[NotifyBed]:
    with notify_bed() as one:
        yield one
