"""`python -m benchmarks [--only NAME]`: runs the measurements and prints each figure beside its goal."""

import argparse
import sys

from benchmarks import bulk, filters, imports, loading, overload, unary, writes
from benchmarks.programs import MissingProgramError

SUITES = {
    "unary": unary.run,
    "bulk": bulk.run,
    "filters": filters.run,
    "imports": imports.run,
    "loading": loading.run,
    "overload": overload.run,
    "writes": writes.run,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", choices=SUITES, help="run one suite instead of all")
    chosen = parser.parse_args().only
    try:
        for name in [chosen] if chosen else SUITES:
            SUITES[name]()
    except MissingProgramError as missing:
        sys.exit(str(missing))


if __name__ == "__main__":
    main()
