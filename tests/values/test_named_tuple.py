"""The frozen values behave as typing.NamedTuple's do."""

from __future__ import annotations

import copy
import pickle
import typing

import pytest

from pvehooks.values import Finding, NamedTuple, Severity, Use


class Ours(NamedTuple):
    """Words."""

    first: int
    second: str = "b"
    third: tuple[int, ...] = ()

    @property
    def both(self) -> str:
        """Of two fields."""
        return f"{self.first}{self.second}"


class Theirs(typing.NamedTuple):
    """Words."""

    first: int
    second: str = "b"
    third: tuple[int, ...] = ()


@pytest.mark.parametrize("given", [(1,), (1, "x"), (1, "x", (2,))])
def test_made_alike(given: tuple[object, ...]) -> None:
    ours, theirs = Ours(*given), Theirs(*given)  # type: ignore[arg-type]
    assert tuple(ours) == tuple(theirs)
    assert repr(ours).replace("Ours", "") == repr(theirs).replace("Theirs", "")
    assert (ours._asdict(), ours._fields) == (theirs._asdict(), theirs._fields)
    assert ours._replace(second="y") == Ours(theirs.first, "y", theirs.third)
    assert Ours._make(theirs) == ours and hash(ours) == hash(theirs)
    assert Ours(third=(5,), first=2) == (2, "b", (5,))
    assert ours.both.startswith("1")


@pytest.mark.parametrize(
    ("positional", "named"), [((), {}), ((1, "x", (), 4), {}), ((1,), {"first": 2}), ((1,), {"fourth": 2}), ((), {"second": "x"})]
)
def test_wrong_fields_are_reported(positional: tuple[object, ...], named: dict[str, object]) -> None:
    for kind in (Ours, Theirs):
        with pytest.raises(TypeError):
            kind(*positional, **named)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Ours(1)._replace(fourth=1)  # type: ignore[call-arg]


def test_frozen_and_copied() -> None:
    value = Ours(1)
    for name in ("first", "new"):
        with pytest.raises(AttributeError):
            setattr(value, name, 2)
    finding = Finding("net0", "words", severity=Severity.INFO)
    assert pickle.loads(pickle.dumps(finding)) == finding == copy.deepcopy(finding)
    assert type(pickle.loads(pickle.dumps(finding))) is Finding
    match Use("holds /", 7):
        case Use(sentence, vmid):
            assert (sentence, vmid) == ("holds /", 7)
