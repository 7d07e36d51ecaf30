"""A group of changes in one transaction; where that fails, for whatever reason, each is made by itself.

So every caller is told what it would have been told alone. What cannot be taken back is not tried again: where nobody
heard what became of the COMMIT, the outcome is unknown to all of the group, and those with a request id can ask for it.
"""

from collections.abc import Callable, Sequence

import psycopg2
from sqlalchemy.orm import Session

from service.db.writing.attempts import is_refusal, perform, unknown
from service.db.writing.jobs import Attempts, Group, Shared, Written
from service.db.writing.promises import remember, remembering
from service.db.writing.transaction import Transaction

Done = list[tuple[Attempts, Written]]
# A group waits for nobody's lock any longer: alone its members wait as long as they may.
PATIENCE_MILLISECONDS = 50


class Apart(Exception):
    """Nothing has been done: each of the group is to be made by itself."""


def perform_group(group: Group, session: Session, committing: Callable[[], None]) -> Done:
    """On a lane's thread: what became of those whose callers still wait. `committing` hears when all has been done
    but for the COMMIT."""
    present = group.present()
    if group.shared is None or len(present) < 2:
        return [(each, perform(each, group.guard, session, committing)) for each in present]
    for each in present:
        each.tries += 1
    return list(zip(present, _together(group, group.shared, present, session, committing), strict=True))


def _together(
    group: Group, shared: Shared, present: Sequence[Attempts], session: Session, committing: Callable[[], None]
) -> list[Written]:
    transaction = Transaction(session, patience=PATIENCE_MILLISECONDS)
    group.guard.begin(transaction.driver)
    try:
        answers = shared.work(transaction, [edit for each in present if (edit := each.change.edit) is not None])
        if len(answers) != len(present):  # a trigger keeps some of them out
            raise Apart
        group.guard.seal()
    except Exception as error:
        transaction.roll_back()
        raise Apart from error
    committing()
    try:
        position = transaction.commit(*_promised(present, answers))
    except psycopg2.Error as error:
        transaction.roll_back()
        raise (Apart if is_refusal(transaction, error) else unknown()) from error
    return [Written(answer, position) for answer in answers]


def _promised(present: Sequence[Attempts], answers: Sequence[bytes]) -> tuple[str, Sequence[str | bytes]]:
    """The statement that remembers the requests which have an id, and its arguments."""
    promised = [
        remembering(each.change.promise, answer)
        for each, answer in zip(present, answers, strict=True)
        if each.change.promise is not None
    ]
    return remember(len(promised)), [value for row in promised for value in row]
