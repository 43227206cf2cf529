"""Journal entries stand alone: they say what they are about."""

from __future__ import annotations

import uuid

from pvehooks.journal import entries
from pvehooks.values import Finding, Severity


def node_message(subject: str, message: str) -> str:
    return entries.node_finding("pve1", Finding(subject, message, "Fix it.", Severity.WARNING, "a-rule")).message


def test_a_finding_about_the_node_names_its_subject() -> None:
    assert node_message("IOMMU", "it is off") == "node pve1: IOMMU: it is off. Fix it."
    assert node_message("IOMMU", "the iommu is off") == "node pve1: the iommu is off. Fix it."


def test_a_field_without_a_value_is_left_out() -> None:
    fields = entries.event("firmware-set", "words", "pve1", device="local:x", backup="").fields
    assert fields == {"PVEHOOKS_EVENT": "firmware-set", "PVEHOOKS_NODE": "pve1", "PVEHOOKS_DEVICE": "local:x"}


def test_message_ids_are_uuids_of_names() -> None:
    namespace = uuid.UUID(bytes=entries.NAMESPACE)
    for name in ("event/started", "finding/rng-missing-netboot", *map(str, range(200))):
        assert entries.message_id(name) == uuid.uuid5(namespace, name).hex
