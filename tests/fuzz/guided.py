"""The codecs under atheris, which keeps those mutants that reach code which none before them did. Failures are told in
lines that begin with FAILED.

`python -m tests.fuzz.guided --seconds 60 --seed 1 --kept FOLDER`. Without a folder nothing is kept.
"""

import argparse
import sys
import traceback
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory

import atheris

with atheris.instrument_imports(include=["service.codec", "service.catalog", "service.changes"]):
    from tests.fuzz.codecs import CODECS, check
    from tests.fuzz.seeds import seeds

NAMES = sorted(CODECS)
MEMORY_MIB = 2048


@dataclass
class Guided:
    """Keeps what fails, and goes on: each kind is told once."""

    failures: Path
    told: set[str] = field(default_factory=set)

    def one(self, data: bytes) -> None:
        """The first byte says which codec reads the rest: one run leads through all of them."""
        if not data:
            return
        codec = NAMES[data[0] % len(NAMES)]
        try:
            check(codec, data[1:])
        except Exception as error:
            self._keep(codec, data, error)

    def _keep(self, codec: str, data: bytes, error: Exception) -> None:
        place = traceback.extract_tb(error.__traceback__)[-1]
        kind = f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}"
        if kind in self.told:
            return
        self.told.add(kind)
        name = f"{codec}-{blake2b(kind.encode(), digest_size=6).hexdigest()}"
        (self.failures / name).write_bytes(data)
        print(f"FAILED {codec}: {kind}: {error} {data[1:].hex()}"[:2000], file=sys.stderr, flush=True)


def plant(folder: Path) -> None:
    """What the first mutants are made of."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, (codec, data) in enumerate(seeds()):
        (folder / f"seed-{number:04}").write_bytes(bytes([NAMES.index(codec)]) + data)


def main() -> None:
    parser = argparse.ArgumentParser(description="Fuzz the codecs, led by coverage.")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kept", type=Path, default=None)
    asked = parser.parse_args()
    with TemporaryDirectory(prefix="fuzz-") as made:
        kept: Path = asked.kept or Path(made)
        planted, corpus, failures = Path(made) / "seeds", kept / "corpus", kept / "failures"
        for folder in (corpus, failures):
            folder.mkdir(parents=True, exist_ok=True)
        plant(planted)
        options = [
            f"-max_total_time={max(1, round(asked.seconds))}",
            f"-seed={asked.seed or 1}",
            f"-artifact_prefix={failures}/",  # of what ends the process
            f"-rss_limit_mb={MEMORY_MIB}",
            "-timeout=30",
            "-max_len=4096",
            "-print_final_stats=1",
            "-verbosity=1",
        ]
        atheris.Setup([sys.argv[0], *options, str(corpus), str(planted)], Guided(failures).one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
