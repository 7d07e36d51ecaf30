"""Every call has an id: the caller's own, or one that is made here. It comes back as trailing metadata.

Where it is part of a trace (a W3C `traceparent`), log lines name that as well, whether or not calls are traced here.
"""

import re
from itertools import count
from secrets import token_hex

from service.interceptors.call import HEADER, Call, Observer
from service.observability.logs import REQUEST_ID, TRACE_ID

TRACEPARENT = "traceparent"
_TRACE = re.compile(r"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}").match
_ACCEPTABLE = re.compile(r"[\x21-\x7e]{1,128}").fullmatch


class RequestIds(Observer):
    def __init__(self) -> None:
        self._prefix = token_hex(6)
        self._numbers = count(1)

    def started(self, call: Call) -> None:
        call.request_id = self._given(call) or f"{self._prefix}-{next(self._numbers):x}"
        REQUEST_ID.set(call.request_id)
        if TRACEPARENT in call.metadata:
            TRACE_ID.set(self._trace(call))
        call.context.set_trailing_metadata(((HEADER, call.request_id),))

    @staticmethod
    def _trace(call: Call) -> str | None:
        value = call.metadata.get(TRACEPARENT)
        found = _TRACE(value) if isinstance(value, str) else None
        return found[1] if found else None

    @staticmethod
    def _given(call: Call) -> str | None:
        value = call.metadata.get(HEADER)
        return value if isinstance(value, str) and _ACCEPTABLE(value) else None
