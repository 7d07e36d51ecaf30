"""The calls of one shape."""

from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field

from service.db.batch import Call
from service.domain import Shape

BATCH_ROWS = 4096  # rows that a batch is expected to bring at most
FEW = 16  # calls that one statement may answer however long that takes
WORTH = 2  # times as long as a statement for few calls, one for many may always take
MANY = 128  # calls after which nothing is remembered of how long they took each


@dataclass(slots=True, eq=False)
class Traffic:
    """Those that wait, the statements that run, the rows that a call brings on average."""

    shape: Shape
    waiting: deque[Call] = field(default_factory=deque)
    running: int = 0
    long: int = 0  # statements that run long, not counted in `running`
    rows: float = 1.0
    seconds: float = 0.0  # that a statement takes on average
    pace: float = 0.0  # seconds of a statement for each of its calls
    few: float = 0.0  # seconds that a statement for few calls takes

    @property
    def idle(self) -> bool:
        return not (self.waiting or self.running or self.long)

    def most(self, calls: int, seconds: float | None = None) -> int:
        """Calls that its next statement may answer: at most so many, and as are answered in so many seconds."""
        most = min(calls, max(1, int(BATCH_ROWS / self.rows)))
        if seconds is None or not self.pace:
            return most
        return min(most, max(FEW, int(max(seconds, WORTH * self.few) / self.pace)))

    def take(self, most: int) -> list[Call]:
        """On the event loop or on a lane's thread: those at the front that are still awaited."""
        taken: list[Call] = []
        with suppress(IndexError):  # nobody is left
            while len(taken) < most:
                call = self.waiting.popleft()
                if not call.future.done():
                    taken.append(call)
        return taken

    def note_rows(self, rows_per_call: float) -> None:
        """A mean that forgets, so that batches grow or shrink with what their calls bring."""
        self.rows = max(1.0, self.rows + (rows_per_call - self.rows) / 8)

    def note_seconds(self, seconds: float, calls: int) -> None:
        self.seconds += (seconds - self.seconds) / 4
        self.pace += (seconds / calls - self.pace) * min(1.0, calls / MANY)
        if calls <= FEW:
            self.few += (seconds - self.few) / 4
