"""A thread that does one thing after another, and that never keeps the process from ending, as an executor's would."""

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread


class Worker:
    def __init__(self, name: str) -> None:
        self._tasks: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        Thread(target=self._work, name=name, daemon=True).start()

    def submit(self, task: Callable[[], object]) -> None:
        """`task` must not raise."""
        self._tasks.put(task)

    def stop(self) -> None:
        """After what was submitted before."""
        self._tasks.put(None)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            task()
