from secrets import token_urlsafe

import click
import yaml

from service.security.callers import DIGEST, read_scopes, token_digest
from service.security.errors import SecurityProblem


@click.command()
@click.argument("name")
@click.option("--scope", "scopes", multiple=True, help="What its bearer may do; again for more.")
def token(name: str, scopes: tuple[str, ...]) -> None:
    """Make a token for the caller NAME.

    The token goes to standard output, and is kept nowhere. What belongs into SPATIAL_TOKENS_FILE, below `callers:`,
    goes to standard error: the token's digest, from which nobody finds the token.

    \b
    spatial token billing --scope spatial.read --scope "spatial.write:parcels" > billing.token
    """
    words = " ".join(scopes or ["spatial.read"])
    try:
        read_scopes(words)
    except SecurityProblem as problem:
        raise click.BadParameter(str(problem), param_hint="--scope") from None
    made = token_urlsafe(32)
    entry = {"name": name, "token": f"{DIGEST}{token_digest(made).hex()}", "scopes": words}
    click.echo(yaml.safe_dump([entry], sort_keys=False, width=200).rstrip(), err=True)
    click.echo(made)
