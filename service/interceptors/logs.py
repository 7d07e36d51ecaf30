"""A line for every call that ended: at debug level where all went well, louder the more it is our fault."""

import asyncio
import logging
from time import perf_counter

from grpc import StatusCode

from service.access import PRINCIPAL
from service.errors import SpatialError
from service.interceptors.call import Call, Observer
from service.observability.logs import left_out

log = logging.getLogger("spatial.call")

_LEVELS = {
    StatusCode.INTERNAL: logging.ERROR,
    StatusCode.UNKNOWN: logging.ERROR,
    StatusCode.UNAVAILABLE: logging.WARNING,
    StatusCode.RESOURCE_EXHAUSTED: logging.WARNING,
    StatusCode.DEADLINE_EXCEEDED: logging.WARNING,
}


class CallLog(Observer):
    def ended(self, call: Call) -> None:
        level = logging.DEBUG if call.error is None else _LEVELS.get(call.code, logging.INFO)
        if not log.isEnabledFor(level):
            return
        method = f"{call.method.service}/{call.method.name}"
        reason = str(call.error.reason) if isinstance(call.error, SpatialError) else None
        if left_out((log.name, level, "call", method, call.code.name, reason)):  # as of most that a flood is refused
            return
        fields = {
            "method": method,
            "code": call.code.name,
            "milliseconds": round((perf_counter() - call.started) * 1000, 3),
            "peer": call.context.peer(),
            "sent": call.sent,
            "received": call.received,
        }
        if (principal := PRINCIPAL.get()) is not None:
            fields["principal"] = principal.name
        if isinstance(call.error, SpatialError):
            fields |= {"reason": str(call.error.reason), "error": call.error.message}
        log.log(level, "call", extra={"fields": fields}, exc_info=_worth_a_trace(call.error))


def _worth_a_trace(error: BaseException | None) -> BaseException | None:
    """The database's own words stand in the cause; what a caller got wrong needs no trace."""
    if isinstance(error, SpatialError):
        return error.__cause__
    return None if isinstance(error, asyncio.CancelledError | GeneratorExit | NotImplementedError) else error
