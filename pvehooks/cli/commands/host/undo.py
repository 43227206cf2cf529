"""pvehooks host undo: restores the files that the last `host fix` changed."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from pvehooks.actions.host.apply import Undone, undo
from pvehooks.cli import audit, envelope
from pvehooks.cli.commands.host import fix
from pvehooks.cli.view import View, view
from pvehooks.errors import EXIT_OK, ActionFailed

SUMMARY = "restore the files that the last `host fix` changed"
EXAMPLE = "pvehooks host undo"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the action takes."""
    parser.add_argument(
        "--force", action="store_true", help="restore files that were edited since as well; a copy of the edited file is kept"
    )


def run(options: argparse.Namespace) -> int:
    """Restores the files of the last fix, and runs its commands again."""
    seen = view(options, own=True)
    with seen.host.undisturbed():
        done = _undo(seen, options.force, fix.show_nothing if options.json else fix.show_running)
    if options.json:
        envelope.show(seen.host, seen.node, {"undone": None if done is None else _as_json(done)})
    elif done is None:
        print(f"{seen.node}: there is no fix to undo")
    else:
        for path in done.files:
            print(f"{path} is restored to its state before the fix of {', '.join(done.rules)}")
        if not done.files:
            print(f"the fix saved in {done.copies_dir} had not changed a file, or its files were restored already")
        fix.show_rest(done.left_to_admin, bool(done.ran or done.left_to_admin))
    return EXIT_OK


def _as_json(done: Undone) -> dict[str, object]:
    """What was rolled back, as JSON."""
    return {
        "place": done.copies_dir,
        "rule_ids": done.rules,
        "files": done.files,
        "ran": done.ran,
        "to_type": done.left_to_admin,
        "restart": bool(done.ran or done.left_to_admin),
        # Deprecated.
        "rules": done.rules,
    }


def _undo(seen: View, force: bool, on_command: Callable[[str], None]) -> Undone | None:
    """Restores the files, and logs it in the journal; raises Refused, ActionFailed."""
    try:
        done = undo(seen.host, force, on_command)
    except ActionFailed as failed:
        audit.log(seen.host, seen.node, "host-not-fixed", f"host undo failed: {failed.message}. {failed.hint}".rstrip())
        raise
    if done is not None and (done.files or done.ran):
        rules = ", ".join(done.rules)
        message = f"host undo of the fix of {rules}: {fix.in_words(done.files, done.ran)}"
        audit.log(seen.host, seen.node, "host-fix-undone", message, rule=rules, **fix.as_fields(done.files, done.ran))
    return done
