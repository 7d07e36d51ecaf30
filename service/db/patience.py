"""How long calls may have to wait for a lane; those that would wait longer are refused as they come.

What is to come is known: how many statements go before, and how long such statements took lately. So nothing has to be
felt out by trial: whoever waits for the next statement of its shape is always let in, however slow it is, a lane never
idles for what was refused, and as soon as statements are quick again, or less is waiting, all are let in again.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from service.errors import Reason, ResourceExhausted, SpatialError
from service.observability.metrics import Metrics
from service.settings import Settings

ROUNDS = 4  # so many slow calls may wait for each lane, however slow they are


@dataclass(slots=True)
class Mean:
    """Of how long statements take; it forgets."""

    seconds: float = 0.0

    def note(self, seconds: float) -> None:
        self.seconds += (seconds - self.seconds) / 8


@dataclass(slots=True)
class Patience:
    """`quick_target` and `heavy_target` are seconds; `tight` says whether memory is short."""

    quick_target: float
    heavy_target: float
    adaptive: bool
    tight: Callable[[], bool]
    metrics: Metrics
    quick: Mean = field(default_factory=Mean)
    heavy: Mean = field(default_factory=Mean)

    @property
    def together(self) -> float | None:
        """Seconds that a statement for many quick calls may take: as long again waits who comes as it begins. None
        where nobody is impatient."""
        return self.quick_target / 2 if self.adaptive else None

    def check_quick(self, seconds: float, rounds: int) -> None:
        """Raises if a call is to wait longer than it may: `seconds` for others of its shape that go before the next
        statement's, and for answers that are not handed out yet; and so many `rounds` of statements of other shapes on
        all lanes."""
        if self.adaptive and (seconds > self.quick_target or self._too_many(rounds)):
            raise self._refusal(Reason.OVERLOADED, "too many calls are waiting already")

    def _too_many(self, rounds: int) -> bool:
        return rounds > 1 and rounds * self.quick.seconds > self.quick_target

    def check_heavy(self, rounds: float, *, needs_memory: bool) -> None:
        """Raises if a slow call is to wait longer than it may: for so many `rounds` of statements on all lanes; or if
        its answer may need memory that is not there."""
        if needs_memory and self.tight():
            raise self._refusal(Reason.MEMORY_PRESSURE, "memory is short")
        if self.adaptive and rounds >= ROUNDS and rounds * self.heavy.seconds > self.heavy_target:
            raise self._refusal(Reason.OVERLOADED, "too many calls are waiting already")

    def _refusal(self, reason: Reason, problem: str) -> SpatialError:
        self.metrics.rejected.labels(reason.lower()).inc()
        return ResourceExhausted(reason, problem, retry_after=0.5)


def patient(settings: Settings, metrics: Metrics, tight: Callable[[], bool]) -> Patience:
    """As the settings say."""
    return Patience(settings.queue_target, settings.heavy_queue_target, settings.adaptive_limit, tight, metrics)


def unhurried(settings: Settings, metrics: Metrics) -> Patience:
    """For what needs little memory."""
    return patient(settings, metrics, lambda: False)
