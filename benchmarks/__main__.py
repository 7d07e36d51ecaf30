"""`python -m benchmarks [--only NAME | --full] [--save]`: runs measurements and prints each figure beside its goal.

What is measured is kept suite by suite, and a suite that fails takes nothing from the others. Of some suites a part can
be tried, as `--only "peers:16 callers"`; it is not kept.
"""

import argparse
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from benchmarks import bulk, filters, growth, imports, loading, overload, pages, peers, report, unary, writes
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
LONG_SUITES: Mapping[str, Callable[[], Mapping[str, Any] | None]] = {
    "peers": peers.run,
    "pages": pages.run,
    "growth": growth.run,
}
PARTED = {"peers": peers.run, "pages": pages.run}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    every = {**SUITES, **LONG_SUITES}
    parser.add_argument("--only", metavar="NAME", help=f"run one suite: {', '.join(every)}")
    parser.add_argument("--full", action="store_true", help="run the long suites too")
    parser.add_argument("--save", action="store_true", help="keep what comes out in benchmarks/results")
    chosen = parser.parse_args()
    only, _, part = (chosen.only or "").partition(":")
    if only and only not in every:
        parser.error(f"there is no suite {only!r}, but {', '.join(every)}")
    if part and (only not in PARTED or chosen.save):
        parser.error(f"only of {', '.join(PARTED)} a part can be run, and it is not kept")
    if part:
        every[only] = partial(PARTED[only], part)
    names = [only] if only else list(every if chosen.full else SUITES)
    started = time.monotonic()
    missing = [name for name in names if not _ran(name, every[name], save=chosen.save)]
    say(f"all together: {time.monotonic() - started:.0f} s")
    if missing:
        sys.exit(f"not measured: {', '.join(missing)}; why is said above")


def _ran(name: str, run: Callable[[], Mapping[str, Any] | None], *, save: bool) -> bool:
    """Whether a suite could be measured; then what it measured is on the page already, if it is to be kept."""
    started = time.monotonic()
    try:
        with listening() as printed:
            measured = run()
    except MissingProgramError as missing:
        say(str(missing))
        return False
    except Exception:  # said in full; the next suite has nothing to do with it
        traceback.print_exc()
        return False
    finally:
        say(f"{name}: {time.monotonic() - started:.0f} s")
    if save:
        Result.of(name, printed.getvalue(), measured).write()
        report.main()
    return True


if __name__ == "__main__":
    main()
