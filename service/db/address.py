"""Addresses of databases: one server's, or libpq's form for several, `postgresql://user:password@h1:5432,h2:5432/db`."""

import re

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

# user:password@ and the servers, up to the path or the options.
_SEVERAL = re.compile(r"(?P<before>[\w+]+://(?:[^@/?]*@)?)(?P<servers>[^/?@]*,[^/?@]*)(?P<after>.*)", re.DOTALL)
_SERVER = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.%]+)\]|(?P<name>[^:\[\]]*))(?::(?P<port>\d*))?")
_SCHEME = re.compile(r"[\w+]+(?=://)")


def parsed(url: str) -> URL:
    """In SQLAlchemy's form; ArgumentError where it is none."""
    several = _SEVERAL.fullmatch(url)
    try:
        if several is None:
            return make_url(url)
        hosts, ports = zip(*map(_server, several["servers"].split(",")), strict=True)
        # The form in which SQLAlchemy takes them.
        whole = make_url(several["before"] + several["after"])
        return whole.update_query_dict({"host": ",".join(hosts), "port": ",".join(ports)})
    except ValueError:  # a port that is no number
        raise ArgumentError("not a database's URL") from None


def libpq_address(url: str) -> str:
    """The same for psycopg2 without SQLAlchemy."""
    return _SCHEME.sub("postgresql", url, count=1)


def masked(url: str) -> str:
    """The URL as it may be shown."""
    address = parsed(url)
    secrets = {name: "hidden" for name in address.query if "password" in name}
    return address.update_query_dict(secrets).render_as_string(hide_password=True)


def addresses(text: str) -> list[str]:
    """Several URLs, apart from one another by blanks or commas; a comma within one stands between its servers."""
    return [url for url in re.split(r"[\s,]+(?=\w[\w+]*://)|\s+", text.strip(" \t\r\n,")) if url]


def _server(text: str) -> tuple[str, str]:
    server = _SERVER.fullmatch(text)
    if server is None:
        raise ValueError
    return server["six"] or server["name"], server["port"] or "5432"
