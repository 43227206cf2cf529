"""Where a device is that was somewhere else before: what decides, and what is said where nothing does."""

from __future__ import annotations

import pytest

from pvehooks.derived.whereabouts import locate
from pvehooks.values.fingerprints import Fingerprint, Whereabouts

A, B, C = "0000:01:00.0", "0000:02:00.0", "0000:03:00.0"
SLOT_1, SLOT_2, SLOT_3 = "0000:00/01.0/00.0", "0000:00/01.1/00.0", "0000:00/01.2/00.0"
CARD = Fingerprint(0x8086, 0x1572)
SERIAL = CARD._replace(serial="a1-b2")
NUMBER, PLACE, ONLY = "serial number a1-b2", "it sits in the same slot", "it is the only one of its kind that it can be"
TWO = "2 devices fit: neither a serial number nor the slot shows which of them it is"


@pytest.mark.parametrize(
    ("known", "alike", "where"),
    [
        # -- by what only it has
        pytest.param(SERIAL, {A: SERIAL}, Whereabouts(A, NUMBER), id="its number"),
        pytest.param(SERIAL, {A: CARD, B: CARD._replace(serial="c3"), C: SERIAL}, Whereabouts(C, NUMBER), id="its number, among others"),
        pytest.param(
            CARD._replace(mac="bc:24:11:00:00:01", place=SLOT_1),
            {A: CARD._replace(mac="bc:24:11:00:00:02", place=SLOT_1), B: CARD._replace(mac="bc:24:11:00:00:01", place=SLOT_2)},
            Whereabouts(B, "MAC bc:24:11:00:00:01"),
            id="its MAC before its slot",
        ),
        pytest.param(
            SERIAL._replace(twins=frozenset({SLOT_2})),
            {A: SERIAL._replace(place=SLOT_2)},
            Whereabouts(A, NUMBER),
            id="its number, where a twin was",
        ),
        # -- by its place
        pytest.param(
            CARD._replace(place=SLOT_2),
            {A: CARD._replace(place=SLOT_1), B: CARD._replace(place=SLOT_2)},
            Whereabouts(B, PLACE),
            id="its slot",
        ),
        pytest.param(
            SERIAL._replace(place=SLOT_2),
            {A: SERIAL._replace(place=SLOT_1), B: SERIAL._replace(place=SLOT_2)},
            Whereabouts(B, PLACE),
            id="its slot, of two with its number",
        ),
        pytest.param(
            SERIAL._replace(place=SLOT_2),
            {A: SERIAL._replace(place=SLOT_1), B: SERIAL._replace(place=SLOT_3), C: CARD._replace(place=SLOT_2)},
            Whereabouts("", TWO, (A, B)),
            id="one without a number in its slot, and two have its number",
        ),
        pytest.param(
            SERIAL._replace(place=SLOT_1),
            {A: CARD._replace(serial="c3", place=SLOT_1), B: CARD._replace(place=SLOT_2)},
            Whereabouts(B, ONLY),
            id="another one in its slot",
        ),
        # -- as the only one
        pytest.param(CARD, {A: CARD}, Whereabouts(A, ONLY), id="the only one"),
        pytest.param(SERIAL, {A: CARD, B: CARD._replace(serial="c3")}, Whereabouts(A, ONLY), id="the only one that has not another number"),
        pytest.param(
            CARD._replace(place=SLOT_1, twins=frozenset({SLOT_2})),
            {B: CARD._replace(place=SLOT_2), C: CARD._replace(place=SLOT_3)},
            Whereabouts(C, ONLY),
            id="the only one that was not there before",
        ),
        # -- which one is not known
        pytest.param(CARD, {B: CARD, A: CARD}, Whereabouts("", TWO, (A, B)), id="two, and no place is known"),
        pytest.param(
            CARD._replace(place=SLOT_1),
            {A: CARD._replace(place=SLOT_2), B: CARD._replace(place=SLOT_3)},
            Whereabouts("", TWO, (A, B)),
            id="two in other slots",
        ),
        pytest.param(
            SERIAL._replace(twins=frozenset({SLOT_1, SLOT_2})),
            {A: SERIAL._replace(place=SLOT_1), B: SERIAL._replace(place=SLOT_2)},
            Whereabouts("", TWO, (A, B)),
            id="two with its number, where twins were",
        ),
        pytest.param(
            CARD,
            {A: CARD, B: CARD, C: CARD},
            Whereabouts("", TWO.replace("2", "3", 1), (A, B, C)),
            id="three",
        ),
        # -- it is gone
        pytest.param(SERIAL, {}, Whereabouts("", "no device of the node is of its kind"), id="none of its kind"),
        pytest.param(
            SERIAL,
            {A: CARD._replace(serial="c3"), B: CARD._replace(serial="d4")},
            Whereabouts("", f"no device of the node is this one: it has {NUMBER}, and {A} has serial number c3, {B} has serial number d4"),
            id="others, with other numbers",
        ),
        pytest.param(
            SERIAL._replace(twins=frozenset({SLOT_2})),
            {A: CARD._replace(serial="c3", place=SLOT_1), B: CARD._replace(place=SLOT_2)},
            Whereabouts("", f"no device of the node is this one: it has {NUMBER}, and {A} has serial number c3"),
            id="another one, and a twin without a number",
        ),
        pytest.param(
            CARD._replace(place=SLOT_1, twins=frozenset({SLOT_2, SLOT_3})),
            {C: CARD._replace(place=SLOT_3), B: CARD._replace(place=SLOT_2)},
            Whereabouts("", f"no device of the node is this one: what is at {B}, {C} sits where another one of its kind was"),
            id="its twins alone",
        ),
    ],
)
def test_locate(known: Fingerprint, alike: dict[str, Fingerprint], where: Whereabouts) -> None:
    assert locate(known, alike) == where
