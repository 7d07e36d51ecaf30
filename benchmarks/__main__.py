"""`python -m benchmarks [--only NAME | --full] [--save]`: runs measurements and prints each figure beside its goal."""

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks import bulk, filters, growth, imports, loading, overload, peers, report, unary, writes
from benchmarks.programs import MissingProgramError, say
from benchmarks.results import Result, listening

# What is measured beside the figures comes back from a suite, if there is any.
SUITES: Mapping[str, Callable[[], Mapping[str, Any] | None]] = {
    "unary": unary.run,
    "bulk": bulk.run,
    "filters": filters.run,
    "imports": imports.run,
    "loading": loading.run,
    "overload": overload.run,
    "writes": writes.run,
}
LONG_SUITES: Mapping[str, Callable[[], Mapping[str, Any] | None]] = {"peers": peers.run, "growth": growth.run}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", choices=[*SUITES, *LONG_SUITES], help="run one suite")
    parser.add_argument("--full", action="store_true", help="run the long suites too")
    parser.add_argument("--save", action="store_true", help="keep what comes out in benchmarks/results")
    chosen = parser.parse_args()
    every = {**SUITES, **LONG_SUITES}
    names = [chosen.only] if chosen.only else list(every if chosen.full else SUITES)
    missing = [name for name in names if not _ran(name, every[name], save=chosen.save)]
    if chosen.save:
        report.main()
    if missing:
        sys.exit(f"not measured: {', '.join(missing)}; why is said above")


def _ran(name: str, run: Callable[[], Mapping[str, Any] | None], *, save: bool) -> bool:
    """Whether the programs that a suite needs are there."""
    started = time.monotonic()
    try:
        with listening() as printed:
            measured = run()
    except MissingProgramError as missing:
        say(str(missing))
        return False
    say(f"{name}: {time.monotonic() - started:.0f} s")
    if save:
        Result.of(name, printed.getvalue(), measured).write()
    return True


if __name__ == "__main__":
    main()
