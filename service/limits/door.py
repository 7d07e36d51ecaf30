"""How long calls wait before anybody looks at them, and which of them are refused for it.

The event loop takes some calls from gRPC, and then sees to others. Where the loop is the bottleneck, calls pile up in
front of it, out of Python's sight and without limit. Their number, looked at many times a second, over the rate at
which they are taken says how long one that comes now would wait. If that is too long time after time, what is beyond is
refused as it is taken, which is cheaper than answering it. One in four is answered even so: a server that did nothing
but refuse would be of no use.
"""

ANSWERED = 4  # one in so many
FEW = 16  # so many may wait, however slowly they are taken
PATIENCE = 2  # looks in a row that find too many: one finds a burst, which passes


class Door:
    def __init__(self, target: float) -> None:
        """`target` is how many seconds a call may wait here."""
        self._target = target
        self._late = 0
        self._excess = 0
        self._turn = 0
        self.taken = 0
        """Calls since the last look."""
        self.waiting = 0
        """At the last look."""
        self.room = FEW
        """How many may wait."""

    def refuses(self) -> bool:
        """Whether the call that was taken just now is refused."""
        self.taken += 1
        if not self._excess:
            return False
        self._excess -= 1
        self._turn = (self._turn + 1) % ANSWERED
        return self._turn != 0

    def look(self, waiting: int, seconds: float) -> None:
        """So many wait now, `seconds` after the last look."""
        self.waiting = waiting
        self.room = max(FEW, int(self.taken / seconds * self._target))
        self.taken = 0
        self._late = self._late + 1 if waiting > self.room else 0
        self._excess = waiting - self.room if self._late >= PATIENCE else 0
