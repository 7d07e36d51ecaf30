"""`python -m tests.fuzz --minutes 60`: fuzzing for as long as wanted, with all that fails told at the end.

A round goes through all RPCs, each for some seconds, and through the codecs, led by what code a mutant reaches. What is
found is kept in .local/fuzz: `corpus` for the codecs, and for each failure how to repeat it.
"""

import argparse
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from random import randrange
from tempfile import TemporaryDirectory

from service import migrations
from service.embedded import EmbeddedPostgres, throw_away
from tests.fuzz import stage
from tests.fuzz.contract import Rpc, rpcs
from tests.fuzz.rounds import Fuzzing
from tests.fuzz.stage import Needs, Stage, staged
from tests.processes import ROOT

KEPT = ROOT / ".local/fuzz"
RPC_SECONDS = 4.0
CODEC_SECONDS = 60.0


@dataclass
class Run:
    """What has been done so far, and what failed by its first line, with how to see it again."""

    seed: int
    until: float
    told: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def over(self) -> bool:
        return time.monotonic() > self.until

    def failed(self, what: str, error: BaseException) -> None:
        notes = "\n".join(getattr(error, "__notes__", ()))
        text = f"{what}\n{type(error).__name__}: {error}\n{notes}\n"
        kind = f"{what}: {str(error).partition(chr(10))[0][:160]}"
        if kind not in self.failures:
            self.failures[kind] = text
            folder = KEPT / "failures"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{blake2b(kind.encode(), digest_size=6).hexdigest()}.txt").write_text(text)
            print(f"FAILED {kind}", flush=True)

    def summary(self) -> str:
        lines = [f"{sum(self.calls.values())} calls of {len(self.calls)} RPCs, SEED={self.seed}"]
        lines += [f"  {count:9d}  {code}" for code, count in self.told.most_common()]
        lines += [f"{len(self.failures)} kinds of failures, kept in {KEPT / 'failures'}", *self.failures]
        return "\n".join(lines)


def round_of_calls(run: Run, number: int, found: list[Rpc], seconds: float) -> None:
    """Over a server and databases of its own: what a round brought down, the next has again."""
    with ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory(prefix="fuzz-"))
        cluster: EmbeddedPostgres = stack.enter_context(throw_away())
        migrations.upgrade(cluster.url)
        stage.prepare(cluster.url)
        there: Stage = stack.enter_context(staged(cluster, cluster.url, Path(folder)))
        fuzzing = Fuzzing(there)
        for rpc in found:
            if run.over:
                break
            stage.restore(cluster.url)
            try:
                run.calls[rpc.path] += fuzzing.run(rpc, number, seconds)
            except Exception as error:
                run.failed(rpc.path, error)
        run.told += there.told
        try:
            there.check_sound()
        except Exception as error:
            run.failed("afterwards", error)
        calls = sum(run.calls.values())
        print(f"{calls:9d} calls  {Needs.of(there.pid)}  health after {there.silent:.2f} s at most", flush=True)


def round_of_codecs(run: Run, number: int, seconds: float) -> None:
    command = [sys.executable, "-m", "tests.fuzz.guided", "--seconds", str(seconds), "--seed", str(number)]
    ended = subprocess.run([*command, "--kept", str(KEPT)], capture_output=True, text=True, check=False, cwd=ROOT)
    lines = ended.stderr.splitlines()
    done = next((line for line in reversed(lines) if line.startswith("Done")), None)
    print(f"codecs: {done}", flush=True)
    for line in lines:
        if line.startswith("FAILED "):
            run.failed("codecs", AssertionError(line))
    if ended.returncode or done is None:
        run.failed("codecs", AssertionError("\n".join(["the run was ended", *lines[-60:]])))


def main() -> int:
    parser = argparse.ArgumentParser(description="Fuzz the service.")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--only", default="", help="part of the path of RPCs, or codecs")
    asked = parser.parse_args()
    seed = randrange(10**6) if asked.seed is None else asked.seed
    run = Run(seed, time.monotonic() + 60 * asked.minutes)
    found = [rpc for rpc in rpcs() if asked.only in rpc.path]
    number = seed
    while not run.over:
        left = run.until - time.monotonic()
        if found:
            round_of_calls(run, number, found, min(RPC_SECONDS, left / len(found)))
        if asked.only in ("", "codecs") and not run.over:
            round_of_codecs(run, number, min(CODEC_SECONDS, max(5.0, left / 4 if found else left)))
        number += 1
    print(run.summary())
    return 1 if run.failures else 0


if __name__ == "__main__":
    sys.exit(main())
