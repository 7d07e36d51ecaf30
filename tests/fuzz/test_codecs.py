"""What reads requests and what is in them gives a value or an error of ours, soon, and without much memory."""

import os
import platform
import subprocess
import sys
from pathlib import Path
from random import Random, randrange

import pytest

from tests.fuzz import geometries, mutations
from tests.fuzz.codecs import CODECS, READERS, check
from tests.fuzz.contract import rpcs
from tests.fuzz.geometries import BAD_WKB, BAD_WKT
from tests.fuzz.seeds import seeds
from tests.processes import ROOT

SEED = int(os.environ.get("SEED") or randrange(10**6))
MUTANTS = 10_000
GUIDED_SECONDS = 6
KINDS = ("byte", "count", "double", "cut", "drop", "repeat", "nest")


def test_every_rpc_of_ours_has_a_reader() -> None:
    assert {rpc.name for rpc in rpcs() if rpc.ours} == set(READERS)


def test_there_is_something_to_mutate_for_each_codec() -> None:
    assert {codec for codec, _ in seeds()} == CODECS.keys()


def test_what_is_known_is_read_or_refused() -> None:
    for codec, data in seeds():
        check(codec, data)


@pytest.mark.parametrize(
    ("codec", "known"), [("wkb", BAD_WKB), ("wkt", [text.encode() for text in BAD_WKT])], ids=["wkb", "wkt"]
)
def test_what_parsers_have_choked_on_takes_no_memory_to_refuse(codec: str, known: list[bytes]) -> None:
    for data in known:
        check(codec, data, memory=True)


def test_what_is_like_what_is_known_is_read_or_refused() -> None:
    print(f"\nSEED={SEED}")
    random, known = Random(SEED), list(seeds())
    for _ in range(MUTANTS):
        codec, data = random.choice(known)
        fields = codec in ("geometry", "geojson", "box") or codec.endswith("request")
        kinds, change = (mutations.KINDS, mutations.mutated) if fields else (KINDS, geometries.mutated)
        count = 1 + random.randrange(3)
        check(
            codec,
            change(
                data, [(random.choice(kinds), random.randrange(2**16), random.randrange(256)) for _ in range(count)]
            ),
        )


@pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="there is no atheris for this machine"
)
def test_code_that_mutants_are_led_to_fails_in_no_other_way(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.fuzz.guided", "--seconds", str(GUIDED_SECONDS), "--seed", str(SEED or 1)]
    ended = subprocess.run(
        [*command, "--kept", tmp_path], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    told = [line for line in ended.stderr.splitlines() if line.startswith(("FAILED", "Done"))]
    assert [line for line in told if line.startswith("FAILED")] == []
    assert ended.returncode == 0, ended.stderr[-4000:]
    assert len(told) == 1, ended.stderr[-4000:]
