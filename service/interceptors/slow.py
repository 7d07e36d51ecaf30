"""A line for each call that took long: where its time went, and how PostgreSQL would go about its last search."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from time import perf_counter

from service.domain import Search
from service.errors import SpatialError
from service.interceptors.call import Call, Observer
from service.observability.trail import Step, Value

log = logging.getLogger("spatial.slow")

Plan = Callable[[Search], Awaitable[str]]


class SlowCalls(Observer):
    """`plan` gives the text of a search's plan; None where none is wanted. Streams take as long as their readers do,
    and are not judged."""

    def __init__(self, seconds: float, plan: Plan | None = None) -> None:
        self._seconds = seconds
        self._plan = plan
        self._planning: asyncio.Task[None] | None = None

    def ended(self, call: Call) -> None:
        seconds = perf_counter() - call.started
        if call.trail is None or call.method.type != "unary" or seconds < self._seconds:
            return
        fields: dict[str, Value] = {
            "method": f"{call.method.service}/{call.method.name}",
            "code": call.code.name,
            "milliseconds": _milliseconds(seconds),
        }
        for step in call.trail.steps:
            fields |= _fields(step)
        log.warning("slow call", extra={"fields": fields})
        asked = call.trail.asked
        if self._plan is not None and isinstance(asked, Search) and (not self._planning or self._planning.done()):
            self._planning = asyncio.create_task(_tell(self._plan, asked))


def _fields(step: Step) -> dict[str, Value]:
    """The last step of a name stands for all: a call that was run again apart was slow for that."""
    return {f"{step.name}_milliseconds": _milliseconds(step.seconds), **step.about}


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 3)


async def _tell(plan: Plan, search: Search) -> None:
    """One at a time: a database that is slow for all is not asked for the plans of all."""
    try:
        text = await plan(search)
    except SpatialError as error:
        log.info("the plan of a slow call could not be had", exc_info=error)
    else:
        log.warning("plan of a slow call", extra={"fields": {"plan": text}})
