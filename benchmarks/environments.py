"""What the contenders come from: a virtual environment for each lock, a Go program for each go.sum, made once."""

import os
import subprocess
import venv
from functools import cache
from hashlib import sha256
from pathlib import Path

from benchmarks.programs import LOCAL, find, say

_HERE = Path(__file__).parent
_GO_PROGRAMS = {
    "ghz": "github.com/bojand/ghz/cmd/ghz",
    "pg_featureserv": "github.com/CrunchyData/pg_featureserv",
}


@cache
def python_environment(name: str) -> Path:
    """The folder with the programs of `requirements-NAME.lock`."""
    lock = _HERE / f"requirements-{name}.lock"
    folder = LOCAL / f"{name}-{_digest(lock)}"
    installed = folder / "installed"
    if not installed.exists():
        say(f"installing {name}, once")
        venv.create(folder, with_pip=True, clear=True)
        options = ["--quiet", "--disable-pip-version-check", "--require-hashes"]
        subprocess.run([folder / "bin" / "pip", "install", *options, "--requirement", lock], check=True)
        installed.touch()
    return folder / "bin"


def python_package(name: str, package: str) -> str:
    """The version of a package that a lock names."""
    lines = (_HERE / f"requirements-{name}.lock").read_text().splitlines()
    return next(line.split()[0].partition("==")[2] for line in lines if line.startswith(f"{package}=="))


@cache
def go_program(name: str) -> Path:
    """A program built from what `go/NAME` says; its go.sum holds the hash of every module in it."""
    folder = _HERE / "go" / name
    program = LOCAL.parent / "bin" / f"{name}-{_digest(folder / 'go.sum')}"
    if not program.exists():
        go = find("go")
        say(f"building {name}, once")
        unfinished = program.with_suffix(".unfinished")
        command: list[str | Path] = [go, "build", "-o", unfinished, _GO_PROGRAMS[name]]
        subprocess.run(command, cwd=folder, env=os.environ | {"GOFLAGS": "-mod=readonly", "GOWORK": "off"}, check=True)
        unfinished.replace(program)
    return program


def go_version(name: str) -> str:
    lines = (_HERE / "go" / name / "go.mod").read_text().splitlines()
    module = next(line for line in lines if line.startswith("require github.com"))
    return module.split()[-1]


def _digest(file: Path) -> str:
    return sha256(file.read_bytes()).hexdigest()[:12]
