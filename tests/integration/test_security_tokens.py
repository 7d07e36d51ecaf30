"""Tokens against a running server: keys that are fetched, rotated and away; what is counted, logged and never said."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from service.security import issuer, watch
from spatial.v1 import query_pb2
from spatial_client import SpatialClient
from tests.clients import Blocking
from tests.issuing import AUDIENCE, ISSUER, jwk, key_set, publishing, token
from tests.servers import Refusal, Served, refusal, serving
from tests.situations import eventually

PLAIN = "a-static-token-for-the-tests"


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(issuer, "LEAST_SECONDS", 0.2)
    monkeypatch.setattr(watch, "LOOK_SECONDS", 0.05)


@contextmanager
def trusting(url: str, jwks: str, **settings: Any) -> Iterator[Served]:
    with serving(url, jwks=jwks, jwt_issuer=ISSUER, jwt_audience=f"{AUDIENCE} other", **settings) as served:
        yield served


def asked(served: Served, bearer: str) -> Refusal | None:
    try:
        metadata = (("authorization", f"Bearer {bearer}"),)
        served.stub.GetLayer(query_pb2.GetLayerRequest(name="zones"), metadata=metadata, timeout=10)
    except grpc.RpcError as error:
        return refusal(error)
    return None


def test_keys_are_fetched_before_the_first_call_and_once_for_many(module_database: str) -> None:
    with publishing(key_set()) as publisher, trusting(module_database, publisher.url) as served:
        for number in range(20):
            assert asked(served, token(sub=str(number))) is None
        assert publisher.asked == 1
        assert served.metric('spatial_authentications_total{outcome="accepted"}') == 20
        assert served.metric('spatial_jwks_fetches_total{outcome="ok"}') == 1


def test_a_key_that_is_rotated_in_is_fetched_when_it_is_met_and_the_old_one_is_no_more(module_database: str) -> None:
    with publishing(key_set()) as publisher, trusting(module_database, publisher.url) as served:
        old, new = token(), token(id_="two", number=1)
        assert asked(served, old) is None
        publisher.keys = key_set(jwk(id_="two", number=1))
        first = asked(served, new)
        assert first
        assert (first.code, first.reason) == ("UNAUTHENTICATED", "INVALID_CREDENTIALS")
        assert first.retry_seconds is not None
        eventually(lambda: asked(served, new) is None)
        forgotten = asked(served, old)
        assert forgotten
        assert "no key of its issuer" in forgotten.message


@pytest.mark.parametrize("kind", [SpatialClient, Blocking], ids=["threads", "asyncio"])
def test_the_client_tries_again_while_a_new_key_is_fetched(kind: Any, module_database: str) -> None:
    with publishing(key_set()) as publisher, trusting(module_database, publisher.url) as served:
        publisher.keys = key_set(jwk(id_="two", number=1))
        with kind(served.address, token=lambda: token(id_="two", number=1)) as client:
            assert client.get_layer("zones").name == "zones"


def test_tokens_of_nobody_s_key_do_not_make_the_server_ask_again_and_again(module_database: str) -> None:
    with publishing(key_set()) as publisher, trusting(module_database, publisher.url) as served:
        started = time.monotonic()
        for number in range(60):
            assert asked(served, token(id_=f"key {number % 3}"))
        assert publisher.asked <= 2 + (time.monotonic() - started) / issuer.LEAST_SECONDS
        eventually(lambda: (seen := asked(served, token(id_="key 0"))) is not None and seen.retry_seconds is None)


def test_keys_stay_while_their_issuer_is_away(module_database: str, caplog: pytest.LogCaptureFixture) -> None:
    with publishing(key_set()) as publisher, trusting(module_database, publisher.url) as served:
        publisher.keys = None
        asked(served, token(id_="unknown"))
        eventually(lambda: "what was fetched before stays" in caplog.text)
        assert asked(served, token()) is None
        assert served.health() == "SERVING"
        assert served.metric('spatial_jwks_fetches_total{outcome="failed"}') >= 1


def test_a_server_whose_issuer_is_away_is_not_ready_until_it_is_back(module_database: str) -> None:
    with publishing(None) as publisher, trusting(module_database, publisher.url) as served:
        assert served.health() == "NOT_SERVING"
        assert served.health("liveness") == "SERVING"
        assert served.server.problem == "the keys of SPATIAL_JWKS could not be fetched yet"
        early = asked(served, token())
        assert early
        assert (early.reason, early.retry_seconds is not None) == ("INVALID_CREDENTIALS", True)
        publisher.keys = key_set()
        eventually(lambda: asked(served, token()) is None)
        eventually(lambda: served.health() == "SERVING")


def test_keys_may_stand_in_a_file_that_changes(module_database: str, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(key_set())
    with trusting(module_database, str(path)) as served:
        assert asked(served, token()) is None
        path.write_bytes(key_set(jwk("RSA", "two")))
        eventually(lambda: asked(served, token("RSA", "PS256", "two")) is None)
        assert asked(served, token())


@pytest.mark.parametrize(("size", "accepted"), [(8 * 1024, True), (11 * 1024, True), (14 * 1024, False)])
def test_a_long_token_is_accepted_up_to_a_length(
    module_database: str, tmp_path: Path, size: int, accepted: bool
) -> None:
    (tmp_path / "keys.json").write_bytes(key_set())
    made = token(padding="x" * (size * 3 // 4 - 300))
    assert abs(len(made) - size) < 400
    with trusting(module_database, str(tmp_path / "keys.json")) as served:
        seen = asked(served, made)
        assert (seen is None) == accepted
        assert accepted or (seen and "at most 12288 characters" in seen.message)


def test_static_tokens_and_web_tokens_go_together(module_database: str, tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_bytes(key_set())
    (tmp_path / "callers.toml").write_text(f'[[callers]]\nname = "a"\ntoken = "{PLAIN}"\nscopes = "spatial.read"')
    with trusting(module_database, str(tmp_path / "keys.json"), tokens_file=str(tmp_path / "callers.toml")) as served:
        assert asked(served, token()) is None
        assert asked(served, PLAIN) is None
        assert asked(served, PLAIN[:-1])


def test_who_calls_stands_in_the_log_and_what_with_does_not(
    module_database: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    (tmp_path / "keys.json").write_bytes(key_set())
    (tmp_path / "callers.yaml").write_text(f"callers: [{{name: billing, token: {PLAIN}, scopes: spatial.write}}]")
    settings = {"tokens_file": str(tmp_path / "callers.yaml")}
    good, bad = token(), token(aud="another")
    with trusting(module_database, str(tmp_path / "keys.json"), **settings) as served:
        for bearer in (good, PLAIN, bad, "unknown-secret-token"):
            asked(served, bearer)
    called = [record.fields for record in caplog.records if record.name == "spatial.call"]  # type: ignore[attr-defined]
    assert [(line.get("principal"), line.get("reason")) for line in called] == [
        ("alice", None),
        ("billing", "INSUFFICIENT_SCOPE"),
        (None, "INVALID_CREDENTIALS"),
        (None, "INVALID_CREDENTIALS"),
    ]
    for secret in (good.split(".")[2], bad.split(".")[2], PLAIN, "unknown-secret-token"):
        assert secret not in caplog.text + repr(called)


def test_without_reflection_and_administration_neither_is_there(module_database: str) -> None:
    with serving(module_database, reflection=False, admin=False) as served:
        channel: Any = served.channel
        for rpc in (
            "spatial.v1.AdminService/Diagnose",
            "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        ):
            with pytest.raises(grpc.RpcError) as refused:
                channel.unary_unary(f"/{rpc}")(b"", timeout=5)
            assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert served.health("spatial.v1.SpatialService") == "SERVING"
        with pytest.raises(grpc.RpcError, match="NOT_FOUND"):
            served.health("spatial.v1.AdminService")
