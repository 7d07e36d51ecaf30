"""The file of callers: what it may say, and that nothing which is said of it repeats a token."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from service.access import Scope
from service.errors import Reason, Unauthenticated
from service.security import watch
from service.security.callers import Callers, Listed, read_callers, token_digest
from service.security.errors import SecurityProblem
from service.security.watch import Watch
from tests.processes import invoked
from tests.situations import eventually

TOKEN = "planted-secret-0123456789"
DIGEST = f"sha256:{token_digest(TOKEN).hex()}"


def of(*lines: str) -> Listed:
    return read_callers("\n".join(["callers:", *lines]).encode(), ".yaml")


@pytest.mark.parametrize("written", [TOKEN, DIGEST, DIGEST.replace("sha256:", "sha256:").upper().replace("SHA", "sha")])
def test_a_token_may_be_written_down_as_its_digest(written: str) -> None:
    listed = of("- name: billing", f"  token: {written}", "  scopes: spatial.read:zones spatial.write")
    caller = listed.tokens[token_digest(TOKEN)]
    assert (caller.principal.name, caller.expires) == ("billing", None)
    assert caller.principal.grants.cover(Scope.READ, "zones")
    assert not caller.principal.grants.cover(Scope.READ, "parcels")


def test_a_file_may_be_toml_and_scopes_a_list() -> None:
    scopes = 'scopes = ["spatial.read", "spatial.write:b"]'
    text = f'[[callers]]\nname = "a"\ntoken = "{TOKEN}"\n{scopes}\nexpires = 2099-01-31'
    caller = read_callers(text.encode(), ".toml").tokens[token_digest(TOKEN)]
    assert caller.expires == datetime(2099, 1, 31, tzinfo=UTC)
    assert caller.principal.grants.cover(Scope.WRITE, "b")


def test_a_certificate_is_named_in_place_of_a_token() -> None:
    listed = of("- {name: tiles, certificate: tiles.internal, scopes: spatial.read}")
    assert listed.certificates["tiles.internal"].principal.name == "tiles"
    assert not listed.tokens


GOOD = f"- {{name: a, token: {TOKEN}, scopes: spatial.read}}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "must have a list `callers`"),
        ("callers: 1", "must have a list `callers`"),
        (f"callers:\n{GOOD}\nothers: []", "must have a list `callers`"),
        (f"callers:\n- name: 'a\n  token: {TOKEN}", "is no YAML: look at line"),
        (f"callers:\n- {TOKEN}", "caller 1: it has other fields"),
        (f"callers:\n- {{name: a, tokens: {TOKEN}, scopes: spatial.read}}", "caller 1: it has other fields"),
        (f"callers:\n- {{token: {TOKEN}, scopes: spatial.read}}", "caller 1: its name must be a text"),
        (f"callers:\n- {{name: 7, token: {TOKEN}, scopes: spatial.read}}", "caller 1: its name must be a text"),
        ("callers:\n- {name: a, scopes: spatial.read}", "needs a token or a certificate"),
        (f"callers:\n- {{name: a, token: {TOKEN}, certificate: b, scopes: spatial.read}}", "and not both"),
        ("callers:\n- {name: a, token: 12345678901234567890, scopes: spatial.read}", "its token must be a text"),
        ("callers:\n- {name: a, token: planted-secret, scopes: spatial.read}", "shorter than 20"),
        ("callers:\n- {name: a, token: 'sha256:planted-secret', scopes: spatial.read}", "64 hexadecimal digits"),
        (f"callers:\n- {{name: a, token: {TOKEN}}}", "scopes are spatial.read, spatial.write, spatial.admin"),
        (f"callers:\n- {{name: a, token: {TOKEN}, scopes: read}}", "not 'read'"),
        (f"callers:\n- {{name: a, token: {TOKEN}, scopes: 'spatial.read:'}}", "not 'spatial.read:'"),
        (f"callers:\n- {{name: a, token: {TOKEN}, scopes: spatial.read, expires: soon}}", "must be a date"),
        (f"callers:\n{GOOD}\n- {{name: b, token: '{DIGEST}', scopes: spatial.read}}", "caller 2: another one has"),
    ],
)
def test_a_file_that_says_something_else_is_refused_without_repeating_it(text: str, said: str) -> None:
    with pytest.raises(SecurityProblem) as refused:
        read_callers(text.encode(), ".yaml")
    assert said in str(refused.value)
    assert "planted-secret" not in str(refused.value)
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


def test_broken_toml_is_refused_without_repeating_it() -> None:
    with pytest.raises(SecurityProblem, match="is no TOML: look at line 2") as refused:
        read_callers(f'[[callers]]\ntoken = "{TOKEN}\n'.encode(), ".toml")
    assert TOKEN not in str(refused.value)


@pytest.mark.parametrize(("days", "good"), [(1, True), (-1, False)])
def test_a_caller_may_be_one_until_a_day(tmp_path: Path, days: int, good: bool) -> None:
    until = datetime.now(UTC) + timedelta(days=days)
    with watching(tmp_path, f"- {{name: a, token: {TOKEN}, scopes: spatial.read, expires: {until:%Y-%m-%d}}}") as known:
        if good:
            assert known.with_token(token_digest(TOKEN))
            return
        with pytest.raises(Unauthenticated) as refused:
            known.with_token(token_digest(TOKEN))
        assert refused.value.reason is Reason.EXPIRED_CREDENTIALS


@contextmanager
def watching(folder: Path, *lines: str) -> Iterator[Callers]:
    path = folder / "callers.yaml"
    path.write_text("\n".join(["callers:", *lines]))
    watch_ = Watch()
    known = Callers(path, watch_)
    watch_.start()
    try:
        yield known
    finally:
        watch_.close()


@pytest.fixture
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "LOOK_SECONDS", 0.02)


@pytest.mark.usefixtures("_often")
def test_a_file_is_read_again_when_it_changes_and_one_that_is_broken_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    path = tmp_path / "callers.yaml"
    with watching(tmp_path, GOOD) as known:
        path.write_text("callers: [{token: planted-secret")
        eventually(lambda: "cannot be used" in caplog.text)
        assert known.with_token(token_digest(TOKEN))
        path.unlink()
        eventually(lambda: "No such file" in caplog.text)
        assert known.with_token(token_digest(TOKEN))
        path.write_text("callers:\n- {name: b, token: another-secret-of-twenty, scopes: spatial.read}")
        eventually(lambda: known.with_token(token_digest(TOKEN)) is None)
        assert known.with_token(token_digest("another-secret-of-twenty"))
    assert "secret" not in caplog.text


@pytest.mark.usefixtures("_often")
def test_a_folder_that_is_swapped_behind_a_link_is_noticed_as_kubernetes_does_it(tmp_path: Path) -> None:
    def version(name: str, line: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "callers.yaml").write_text(f"callers:\n{line}")
        os.utime(folder / "callers.yaml", (0, 0))
        return folder

    version("..first", GOOD)
    (tmp_path / "..data").symlink_to("..first")
    (tmp_path / "callers.yaml").symlink_to("..data/callers.yaml")
    watch_ = Watch()
    known = Callers(tmp_path / "callers.yaml", watch_)
    watch_.start()
    try:
        version("..second", GOOD.replace("planted", "swapped"))
        (tmp_path / "..new").symlink_to("..second")
        (tmp_path / "..new").rename(tmp_path / "..data")
        eventually(lambda: known.with_token(token_digest(TOKEN)) is None)
        assert known.with_token(token_digest(TOKEN.replace("planted", "swapped")))
    finally:
        watch_.close()


def test_the_command_makes_a_token_and_the_line_for_the_file(tmp_path: Path) -> None:
    made = invoked("token", "billing", "--scope", "spatial.read", "--scope", "spatial.write:parcels")
    assert made.returncode == 0
    listed = read_callers(f"callers:\n{made.stderr}".encode(), ".yaml")
    caller = listed.tokens[token_digest(made.stdout.strip())]
    assert caller.principal.name == "billing"
    assert caller.principal.grants.cover(Scope.WRITE, "parcels")
    assert made.stdout.strip() not in made.stderr
    assert made.stdout != invoked("token", "billing").stdout


def test_the_command_knows_what_is_no_scope() -> None:
    made = invoked("token", "billing", "--scope", "everything")
    assert made.returncode == 2
    assert "not 'everything'" in made.stderr
    assert not made.stdout


def test_tokens_are_found_by_their_digests_alone(tmp_path: Path) -> None:
    """What takes longer the more of a token is right would tell how much is: there is no token to compare with."""
    with watching(tmp_path, GOOD) as known:
        assert TOKEN not in repr(vars(known)) + repr(known._listed)
        started = time.perf_counter()
        assert known.with_token(token_digest(TOKEN[:-1] + "x")) is None
        assert time.perf_counter() - started < 1
