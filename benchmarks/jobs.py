"""What a reader process is told to do and what it says of it, one line of JSON each."""

import json
from dataclasses import asdict, dataclass
from typing import Self


@dataclass(frozen=True)
class Line:
    """Something that travels as a line of JSON."""

    def line(self) -> str:
        return json.dumps(asdict(self)) + "\n"

    @classmethod
    def read(cls, line: str) -> Self:
        return cls(**json.loads(line))


@dataclass(frozen=True)
class Job(Line):
    """A stream to read, `times` after one another, until `seconds` have passed; of each no more than `messages`.

    `requests` are the messages to send, as hexadecimal. After each message the reader pauses.
    With `check` it looks into everything it reads.
    """

    port: int
    method: str
    requests: list[str]
    times: int = 1
    seconds: float = 3600.0
    pause: float = 0.0
    check: bool = False


@dataclass(frozen=True)
class Taken(Line):
    """What a reader took, in how many seconds, and after how many each stream brought its first message.

    If it was to check: what the ids sum up to, and the bytes of WKB and of the messages, all together.
    """

    features: int
    messages: int
    seconds: float
    firsts: list[float]
    ids: int
    wkb_bytes: int
    message_bytes: int

    @property
    def rate(self) -> float:
        """Features a second."""
        return self.features / self.seconds
