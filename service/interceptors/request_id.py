"""Every call has an id: the caller's own, or one that is made here. It comes back as trailing metadata."""

import re
from itertools import count
from secrets import token_hex

from service.interceptors.call import HEADER, Call
from service.observability.logs import REQUEST_ID

_ACCEPTABLE = re.compile(r"[\x21-\x7e]{1,128}").fullmatch


class RequestIds:
    def __init__(self) -> None:
        self._prefix = token_hex(6)
        self._numbers = count(1)

    def started(self, call: Call) -> None:
        call.request_id = self._given(call) or f"{self._prefix}-{next(self._numbers):x}"
        REQUEST_ID.set(call.request_id)
        call.context.set_trailing_metadata(((HEADER, call.request_id),))

    def ended(self, call: Call) -> None:
        pass

    @staticmethod
    def _given(call: Call) -> str | None:
        for key, value in call.context.invocation_metadata() or ():
            if key == HEADER and isinstance(value, str) and _ACCEPTABLE(value):
                return value
        return None
