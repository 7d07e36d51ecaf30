"""Addresses of databases: one server or several, as libpq writes them, for SQLAlchemy and for psycopg2."""

import pytest
from sqlalchemy.exc import ArgumentError

from service.db.address import addresses, libpq_address, masked
from service.db.engine import database_url

SEVERAL = "postgresql://u:p%40x@h1:5433,h2/db?target_session_attrs=read-write"


def connecting(url: str) -> dict[str, object]:
    """What psycopg2 is told."""
    _, options = database_url(url).get_dialect()().create_connect_args(database_url(url))
    return dict(options)


def test_one_server_is_what_it_is_everywhere() -> None:
    assert connecting("postgresql://u:p@h:6432/db") == {
        "host": "h",
        "port": 6432,
        "user": "u",
        "password": "p",
        "dbname": "db",
    }


def test_several_servers_are_told_to_libpq_with_their_ports_and_what_is_wanted_of_them() -> None:
    assert connecting(SEVERAL) == {
        "host": "h1,h2",
        "port": "5433,5432",
        "user": "u",
        "password": "p@x",
        "dbname": "db",
        "target_session_attrs": "read-write",
    }


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("postgresql://u@[::1]:5433,[fe80::1]/db", "::1,fe80::1", "5433,5432"),
        ("postgres://10.0.0.1,10.0.0.2:1", "10.0.0.1,10.0.0.2", "5432,1"),
        ("postgresql+psycopg2://u:p@h1:1,h2:2,h3:3/db", "h1,h2,h3", "1,2,3"),
    ],
)
def test_hosts_of_every_kind(url: str, host: str, port: str) -> None:
    assert (connecting(url)["host"], connecting(url)["port"]) == (host, port)


def test_psycopg2_alone_is_given_the_url_itself() -> None:
    assert libpq_address(SEVERAL) == SEVERAL
    assert libpq_address("postgresql+psycopg2://u:p@h1:1,h2:2/db") == "postgresql://u:p@h1:1,h2:2/db"


@pytest.mark.parametrize(
    "url", ["nonsense", "postgresql://h:port/db", "postgresql://h1:1,h2:x/db", "postgresql://[h]:1,x/"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ArgumentError):
        database_url(url)


@pytest.mark.parametrize(
    "url",
    [
        SEVERAL,
        "postgresql://u:p%40x@h/db",
        "postgresql://h/db?user=u&password=p%40x",
        "postgresql://h/?sslpassword=p@x",
    ],
)
def test_a_password_is_not_shown(url: str) -> None:
    assert "p%40x" not in masked(url)
    assert "p@x" not in masked(url)
    assert masked(url).startswith("postgresql://")


@pytest.mark.parametrize("between", [" ", "\n", ", ", ",", " ,\n\t"])
def test_urls_are_listed_with_blanks_or_commas_between_them(between: str) -> None:
    urls = ["postgresql://a:1/x", SEVERAL, "postgres://c/z"]

    assert addresses(f" {between.join(urls)}{between}") == urls


@pytest.mark.parametrize("text", ["", " ", "\n"])
def test_an_empty_list_has_none(text: str) -> None:
    assert addresses(text) == []
