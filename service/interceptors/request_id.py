"""Every call has an id: the caller's own, or one that is made here. It comes back as trailing metadata."""

import re
from collections.abc import Mapping
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
        given: Mapping[str, str | bytes] = dict(call.context.invocation_metadata() or ())
        value = given.get(HEADER)
        return value if isinstance(value, str) and _ACCEPTABLE(value) else None
