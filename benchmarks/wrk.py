"""HTTP by wrk, a generator in C that looks at no more than the status of an answer."""

import re
import tempfile
from collections.abc import Sequence
from functools import partial
from math import ceil

from benchmarks.load import WARM_UP_SECONDS, Load, TooFewCallsError, number_in, patiently
from benchmarks.programs import find, output


def http_load(port: int, paths: Sequence[str], seconds: float, callers: int = 0) -> Load:
    """A connection per path, or as many as are said, on one thread, asking for the paths in turn."""
    return patiently(partial(http_load_once, port, paths, callers or len(paths)), seconds)


def http_load_once(port: int, paths: Sequence[str], callers: int, seconds: float) -> Load:
    """TooFewCallsError where that was not long enough."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        listed = ", ".join(f'"{path}"' for path in paths)
        script.write(f"local paths, turn = {{{listed}}}, 0\n")
        script.write("request = function() turn = turn % #paths + 1; return wrk.format('GET', paths[turn]) end\n")
        script.flush()
        # The longest answers take longer than the two seconds that wrk would wait.
        command = [
            find("wrk"),
            "-t1",
            f"-c{callers}",
            f"-d{ceil(seconds + WARM_UP_SECONDS)}s",
            "--timeout=60s",
        ]
        return parse_wrk(output([*command, "--latency", "-s", script.name, f"http://127.0.0.1:{port}"]))


def parse_wrk(text: str) -> Load:
    if "Non-2xx" in text or "Socket errors" in text:
        raise RuntimeError(f"requests failed:\n{text}")
    rate = number_in(r"^Requests/sec:\s+([\d.]+)", text)
    found = re.findall(r"^ +(\d+)% +([\d.]+)(us|ms|s|m) *$", text, re.MULTILINE)
    told = {float(percent): float(time) * _MILLISECONDS[unit] for percent, time, unit in found}
    answered = int(number_in(r"(\d+) requests in", text))
    if not answered:
        raise TooFewCallsError
    return Load(rate, answered=answered, told=told)


_MILLISECONDS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}
