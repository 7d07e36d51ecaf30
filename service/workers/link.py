"""What a worker and its supervisor say to one another: a line of JSON each, over a pair of sockets.

To the worker: `ask` (answered by `told` with its samples and status), `refresh` (`refreshed`: it has read the layers),
`leave` (`closed`: nobody comes to it any more), `spread`, and `shared`, in answer to its `share`: all others have read
the layers. From it besides: `ready`, `failed` with a reason, and `last`, its samples when it ends.
"""

import json
import os
import socket
from collections.abc import Callable
from itertools import count
from threading import Event, Lock, Thread
from typing import Any

Message = dict[str, Any]

# The supervisor waits for the others less long.
SHARE_SECONDS = 10.0
ORPHANED = 70  # the exit code of a worker whose supervisor is gone


class Link:
    """The worker's end. Listens on a thread, so that it is heard whatever the event loop is at."""

    def __init__(self, to_supervisor: socket.socket) -> None:
        self._socket = to_supervisor
        self._lock = Lock()
        self._numbers = count()
        self._shares: dict[int, Event] = {}

    def listen(self, hear: Callable[[Message], None]) -> None:
        Thread(target=self._listen, args=(hear,), name="link", daemon=True).start()

    def say(self, word: str, **fields: Any) -> None:
        """Does nothing where nobody listens any more: this process is about to end."""
        line = json.dumps({"word": word, **fields}).encode() + b"\n"
        with self._lock:
            try:
                self._socket.sendall(line)
            except OSError:
                return

    def share(self) -> None:
        """Has the others read the layers, and waits until they have; not for ever."""
        done, number = Event(), next(self._numbers)
        self._shares[number] = done
        self.say("share", number=number)
        done.wait(SHARE_SECONDS)
        self._shares.pop(number, None)

    def _listen(self, hear: Callable[[Message], None]) -> None:
        with self._socket.makefile("rb") as lines:
            for line in lines:
                message = json.loads(line)
                if message["word"] == "shared":
                    if done := self._shares.get(message["number"]):
                        done.set()
                else:
                    hear(message)
        # Without a supervisor nobody would end this process; and whoever comes next wants the port.
        os._exit(ORPHANED)
