"""What commands that are clients connect with: TLS, a certificate of their own, a token. One set of options for all.

Without gRPC, which some need for some of their options alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import click

_FILE = click.Path(dir_okay=False, path_type=Path)


@dataclass(frozen=True, slots=True)
class Credentials:
    tls: bool = False
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    name: str | None = None
    token_file: Path | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise click.UsageError("--tls-cert and --tls-key need each other")

    @property
    def encrypted(self) -> bool:
        return self.tls or bool(self.ca or self.certificate or self.name)

    @property
    def token(self) -> str | None:
        if self.token_file is None:
            return None
        token = contents(self.token_file).decode(errors="replace").strip()
        if not (token.isascii() and token.isprintable()):
            raise click.ClickException(f"{self.token_file} holds no token")
        return token

    def for_client(self) -> dict[str, Any]:
        """The arguments of `spatial_client.SpatialClient`."""
        from spatial_client import TLS

        tls = TLS(self.ca, self.certificate, self.key, self.name) if self.encrypted else None
        return {"tls": tls, "token": None if self.token_file is None else lambda: self.token}


def contents(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror}") from None


def connecting(command: Callable[..., None]) -> Callable[..., None]:
    """The options; the command gets what they say as `credentials`."""

    @wraps(command)
    def connected(*arguments: Any, **options: Any) -> None:
        given = {field: options.pop(name) for name, field in _FIELDS.items()}
        command(*arguments, credentials=Credentials(**given), **options)

    for option in (
        click.option("--token-file", type=_FILE, envvar="SPATIAL_TOKEN_FILE", help="File with the token to send."),
        click.option("--tls-name", envvar="SPATIAL_TLS_NAME", help="The name in the server's certificate, if another."),
        click.option("--tls-key", type=_FILE, envvar="SPATIAL_TLS_OWN_KEY", help="The key of --tls-cert."),
        click.option(
            "--tls-cert", type=_FILE, envvar="SPATIAL_TLS_OWN_CERT", help="A certificate of one's own to show."
        ),
        click.option(
            "--tls-ca", type=_FILE, envvar="SPATIAL_TLS_CA", help="Authorities to trust; gRPC's own unless given."
        ),
        click.option("--tls", is_flag=True, envvar="SPATIAL_TLS", help="Encrypt; implied by the other --tls options."),
    ):
        connected = option(connected)
    return connected


_FIELDS = {
    "tls": "tls",
    "tls_ca": "ca",
    "tls_cert": "certificate",
    "tls_key": "key",
    "tls_name": "name",
    "token_file": "token_file",
}
