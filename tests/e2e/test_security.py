"""Security as whoever runs the service meets it: refusals to start, commands with TLS and tokens, and secrets that are
nowhere in what is said."""

import json
from collections.abc import Iterator
from pathlib import Path
from socket import socket
from typing import Any
from urllib.request import urlopen

import grpc
import pytest
from sqlalchemy import make_url

from spatial.v1 import query_pb2, query_pb2_grpc
from tests.certificates import Authority, channel
from tests.issuing import key_set, token
from tests.processes import Serving, invoked, spatial, spatial_serve
from tests.situations import eventually

PLANTED = "planted-secret"
TOKEN = f"{PLANTED}-of-an-administrator"
AUTHORITY, CLIENTS = Authority("ours"), Authority("clients")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("security")
    (folder / "ca.crt").write_bytes(AUTHORITY.pem)
    (folder / "clients.crt").write_bytes(CLIENTS.pem)
    (folder / "token").write_text(f"{TOKEN}\n")
    (folder / "wrong").write_text(f"{PLANTED}-of-nobody")
    (folder / "keys.json").write_bytes(key_set())
    (folder / "callers.yaml").write_text(f"callers: [{{name: ops, token: {TOKEN}, scopes: spatial.admin}}]")
    (folder / "rows.geojsonl").write_text(
        '{"type": "Feature", "geometry": {"type": "Point", "coordinates": [5, 50]},'
        ' "properties": {"name": "Loaded", "kind": "test"}}\n'
    )
    AUTHORITY.pair("spatial.internal").write(folder)
    AUTHORITY.pair("client.internal").write(folder, "client")
    return folder


@pytest.fixture(scope="module")
def settings(filled: str, files: Path) -> dict[str, str]:
    """Of a server with TLS and two kinds of tokens, over a database whose URL is in a file."""
    (files / "database").write_text(f"{filled}\n")
    return {
        "database_url_file": str(files / "database"),
        "tls_certificate": str(files / "tls.crt"),
        "tls_key": str(files / "tls.key"),
        "tokens_file": str(files / "callers.yaml"),
        "jwks": str(files / "keys.json"),
        "jwt_issuer": "https://issuer.example",
        "jwt_audience": "spatial",
        "log_level": "debug",
    }


@pytest.fixture(scope="module")
def pages() -> str:
    """Where one server shows its metrics and its status."""
    with socket() as found:
        found.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{found.getsockname()[1]}"


@pytest.fixture(scope="module")
def secured(settings: dict[str, str], pages: str) -> Iterator[Serving]:
    with spatial_serve(**settings, metrics_listen=pages) as serving:
        assert serving.address
        yield serving


def credentials(files: Path, token_file: str = "token") -> list[str]:
    return [
        "--tls-ca",
        str(files / "ca.crt"),
        "--tls-name",
        "spatial.internal",
        "--token-file",
        str(files / token_file),
    ]


COMMANDS = {
    "query": ("query", "nearest", "zones", "--at", "0,0"),
    "explain": ("explain", "layer", "zones"),
    "export": ("export", "zones", "-"),
    "doctor": ("doctor", "--layer", "districts"),
    "load": ("load", "FILE", "--layer", "facilities"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_client_command_speaks_tls_and_sends_a_token(name: str, secured: Serving, files: Path) -> None:
    asked = [str(files / "rows.geojsonl") if word == "FILE" else word for word in COMMANDS[name]]
    done = invoked(*asked, *credentials(files), "--target", secured.address)
    assert done.returncode in ((0, 1, 2) if name == "doctor" else (0,)), done.stderr
    assert "UNAUTHENTICATED" not in done.stdout + done.stderr

    refused = invoked(*asked, *credentials(files, "wrong"), "--target", secured.address)
    assert refused.returncode not in (0, *((1, 2) if name == "doctor" else ()))
    assert "this token is not accepted" in refused.stderr
    assert PLANTED not in refused.stderr + refused.stdout

    unencrypted = invoked(*asked, "--token-file", str(files / "token"), "--target", secured.address, *patience(name))
    assert unencrypted.returncode
    assert not unencrypted.stdout


def patience(name: str) -> list[str]:
    return [] if name == "load" else ["--timeout", "2"]


def test_the_options_are_variables_too(secured: Serving, files: Path) -> None:
    done = invoked(
        *COMMANDS["query"],
        target=secured.address,
        tls_ca=str(files / "ca.crt"),
        tls_name="spatial.internal",
        token_file=str(files / "token"),
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--tls-cert", "client.crt"], "--tls-cert and --tls-key need each other"),
        (["--token-file", "/nowhere"], "/nowhere: No such file"),
        (["--tls-ca", "/nowhere"], "/nowhere: No such file"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(options: list[str], said: str) -> None:
    done = invoked(*COMMANDS["query"], *options)
    assert done.returncode
    assert said in done.stderr


def test_health_needs_to_be_told_nothing_that_the_server_s_settings_say(
    secured: Serving, settings: dict[str, str]
) -> None:
    beside = {**settings, "listen": secured.address}
    assert invoked("health", "--timeout", "30", **beside).stdout == "SERVING\n"
    assert invoked("health", "--timeout", "1", "--address", secured.address).returncode == 2


def test_health_is_asked_with_the_server_s_own_certificate_or_where_it_is_told_in_the_clear(
    settings: dict[str, str], files: Path
) -> None:
    strict = {**settings, "tls_client_ca": str(files / "ca.crt")}
    address = f"unix:{files / 'health'}"
    with spatial_serve(**strict, health_listen=address) as serving:
        beside = {**strict, "listen": serving.address}
        assert invoked("health", "--timeout", "30", **beside).stdout == "SERVING\n"
        # Where its pair is not one of its clients', there has to be such an address.
        others = {**beside, "tls_client_ca": str(files / "clients.crt")}
        assert invoked("health", "--timeout", "30", **others, health_listen=address).stdout == "SERVING\n"


def test_it_refuses_to_start_where_that_would_not_be_safe(filled: str) -> None:
    done = spatial("serve", database_url=filled, listen="0.0.0.0:0", metrics_listen="127.0.0.1:0")
    assert done.returncode == 1
    assert "not listening on 0.0.0.0:0: anybody there could read and write. Say who may call" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_secret_is_in_anything_that_is_said(
    secured: Serving, settings: dict[str, str], filled: str, pages: str
) -> None:
    """Logs at debug, the settings as they are printed, errors, the status page and the metrics."""
    password = make_url(filled).password
    assert password
    bearer = token(scope="spatial.admin")
    errors = told(secured, [TOKEN, bearer, f"{bearer[:-8]}AAAAAAAA", f"{PLANTED}-unknown"])
    assert ["no layer is called" in error for error in errors] == [True, True, False, False]
    eventually(lambda: sum("rivers" in json.dumps(line) for line in secured.lines) >= 2)
    shown = invoked("config", "--explain", **settings).stdout
    said = "".join([json.dumps(secured.lines), *errors, shown, *map(page_of, (pages, f"{pages}/metrics"))])
    assert "127.0.0.1" in shown
    for secret in (PLANTED, password, bearer.split(".")[2], "PRIVATE KEY"):
        assert secret not in said


def told(serving: Serving, bearers: list[str]) -> list[str]:
    """All that a client learns of calls that fail."""
    errors = []
    with channel(int(serving.address.rpartition(":")[2]), AUTHORITY.pem, name="spatial.internal") as opened:
        stub: Any = query_pb2_grpc.SpatialServiceStub(opened)
        for each in bearers:
            request = query_pb2.GetLayerRequest(name="rivers")
            with pytest.raises(grpc.RpcError) as failed:
                stub.GetLayer(request, metadata=(("authorization", f"Bearer {each}"),), timeout=30)
            errors.append(repr(failed.value))
    return errors


def page_of(address: str) -> str:
    with urlopen(f"http://{address}", timeout=30) as answer:
        text: str = answer.read().decode()
    assert "spatial" in text
    return text


@pytest.mark.parametrize(
    "given",
    [
        {"database_url": f"postgresql://reader:{PLANTED}@127.0.0.1:1/gis"},
        {"database_url": f"postgresql://reader:{PLANTED}@127.0.0.1:port/gis"},
        {"database_url": f"postgresql://reader@127.0.0.1:1/gis?password={PLANTED}"},
        {"database_url": f"{PLANTED}"},
        {"database_url": f"postgresql://reader:{PLANTED}@127.0.0.1:1/gis", "pool_size": "many"},
        {"database_url": f"postgresql://a:{PLANTED}@h/d", "database_url_file": "/nowhere"},
        {"replica_urls": f"postgresql://reader:{PLANTED}@127.0.0.1:1/gis {PLANTED}"},
    ],
    ids=str,
)
@pytest.mark.parametrize("command", ["config", "doctor"])
def test_no_password_is_in_what_goes_wrong_with_a_database(command: str, given: dict[str, str]) -> None:
    done = invoked(command, **{"connect_timeout": "1", **given})
    assert PLANTED not in done.stdout + done.stderr
    assert done.stdout + done.stderr
