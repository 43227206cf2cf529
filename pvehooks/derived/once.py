"""Views that are worked out once: kept in the guest or node that they are of, and gone with it."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

from pvehooks.values import Guest, Node

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    Of = TypeVar("Of", Guest, Node)
    View = TypeVar("View")


def once(work_out: Callable[[Of], View]) -> Callable[[Of], View]:
    """Has the view that the decorated function works out kept in the value, until the value forgets what was worked out of it."""

    @wraps(work_out)
    def view(of: Of) -> View:
        kept = of.__dict__.get("derived")
        if kept is None:
            kept = of.__dict__["derived"] = {}
        if work_out not in kept:
            kept[work_out] = work_out(of)
        found: View = kept[work_out]
        return found

    return view


def once_on(work_out: Callable[[Guest, Node], View]) -> Callable[[Guest, Node], View]:
    """The same of a guest on a node, kept in the guest."""

    @wraps(work_out)
    def view(guest: Guest, node: Node) -> View:
        kept = guest.__dict__.get("derived")
        if kept is None:
            kept = guest.__dict__["derived"] = {}
        key = (work_out, node)
        if key not in kept:
            kept[key] = work_out(guest, node)
        found: View = kept[key]
        return found

    return view
