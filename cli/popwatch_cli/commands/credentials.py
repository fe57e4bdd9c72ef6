"""`popwatch credentials`: store, list and remove the logins of a stack. No secret is an argument, or printed."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, ClassVar, TextIO

import click

from popwatch.model.credentials import Mechanism, Secret, UnusableCredentialError, check_name
from popwatch.model.stored_credentials import MICROSOFT_SCOPE, StoredCredential, TokenSource, path_of
from popwatch.model.text import clean, iso, utc
from popwatch_cli.command_tree import CommandGroup
from popwatch_cli.commands.before_writing import confirm
from popwatch_cli.credential_store import ListedCredential, list_credentials, put_credential, remove_credential
from popwatch_cli.errors import UserError
from popwatch_cli.given_secrets import given_secret
from popwatch_cli.installation import find
from popwatch_cli.options import Choice
from popwatch_cli.output.columns import listed
from popwatch_cli.output.terminal import line_width, say
from popwatch_cli.target_items import targets_of, whole

FOR_TOKENS = ("token_url", "client_id", "scope")
"""Options that only XOAUTH2 takes."""

USER_SHOWN = 254
"""Characters of a user that are shown."""


MAX_NAMED = 20
"""Targets that are named of those that used a removed login."""


class CredentialsGroup(CommandGroup):
    """The commands of `popwatch credentials`, also by the names that other programs have for them."""

    aliases: ClassVar[Mapping[str, str]] = {
        "add": "put",
        "set": "put",
        "ls": "list",
        "rm": "remove",
        "delete": "remove",
    }
    suggestions: ClassVar[Mapping[str, str]] = {"show": "popwatch credentials list", "get": "popwatch credentials list"}


@click.group(cls=CredentialsGroup, short_help="Logins for tests, kept encrypted in AWS's Parameter Store.")
def credentials() -> None:
    """Logins, kept encrypted in AWS's Parameter Store under the stack's name.

    \b
    Examples:
      popwatch credentials put monitor --user monitor@example.net
      popwatch credentials list
    """


@credentials.command()
@click.argument("name")
@click.option("--user", required=True, help="The user to log in as.")
@click.option("--mechanism", type=Choice(Mechanism), default=str(Mechanism.USER), show_default=True, help="How.")
@click.option(
    "--secret-file", type=click.File(), metavar="FILE", help="Read the password from FILE; - is standard input."
)
@click.option("--token-url", metavar="URL", help="With xoauth2: where access tokens come from.")
@click.option("--client-id", metavar="ID", help="With xoauth2: the client's id; its secret is asked for.")
@click.option("--scope", metavar="SCOPE", help="With xoauth2: what tokens are for; Exchange Online unless given.")
@click.option("--json", "as_json", is_flag=True, help="Print what was stored as a line of JSON, without the secret.")
@click.pass_obj
def put(
    choice: Any,
    /,
    *,
    name: str,
    user: str,
    mechanism: str,
    secret_file: TextIO | None,
    as_json: bool,
    **source: str | None,
) -> None:
    """Store a login, or replace it. Asks for the password twice, without showing it.

    It is not an argument, since other users of a machine can read those of a command. With xoauth2 it is the secret
    of the client, with which the access tokens are fetched.

    \b
    Examples:
      popwatch credentials put monitor --user monitor@example.net
      popwatch credentials put monitor --user monitor@example.net --secret-file -
      popwatch credentials put office --user monitor@example.com --mechanism xoauth2 \\
          --client-id 6731de76-14a6-49ae-97bc-6eba6914391e \\
          --token-url https://login.microsoftonline.com/example.com/oauth2/v2.0/token
    """
    used = [option for option in FOR_TOKENS if source[option]]
    if used and mechanism != Mechanism.XOAUTH2:
        raise UserError(f"--{used[0].replace('_', '-')} is for --mechanism xoauth2 only. Nothing was stored.")
    try:
        check_name(name)
        # All that is not secret is checked before a password is typed: this one could be used everywhere.
        tokens = _token_source(source) if mechanism == Mechanism.XOAUTH2 else None
        StoredCredential(name, user, Secret("checked"), Mechanism(mechanism), tokens)
        installation = find(choice)
        secret = given_secret(secret_file, f"Password of {name}", confirm=True, outcome="Nothing was stored.")
        credential = StoredCredential(name, user, secret, Mechanism(mechanism), tokens)
    except UnusableCredentialError as error:
        raise UserError(f"{error} Nothing was stored.") from None
    version = put_credential(installation, credential)
    if as_json:
        stored = {"name": name, "user": user, "mechanism": mechanism, "version": version}
        click.echo(json.dumps(stored))
    else:
        say(f"Stored: {name}, version {version}, encrypted as {path_of(installation.stack)}{name}.")


def _token_source(options: Mapping[str, str | None]) -> TokenSource:
    """The token endpoint that the options give. Raises UnusableCredentialError, and UserError for one left out."""
    url, client_id = options["token_url"], options["client_id"]
    if not url or not client_id:
        raise UserError(
            "XOAUTH2 needs --token-url and --client-id: for Exchange Online "
            "https://login.microsoftonline.com/TENANT/oauth2/v2.0/token, and the id of the registered application. "
            "Nothing was stored."
        )
    return TokenSource(url, client_id, options["scope"] or MICROSOFT_SCOPE)


@credentials.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print each credential as a line of JSON.")
@click.pass_obj
def list_all(choice: Any, *, as_json: bool) -> None:
    """List the stack's logins: name, user, mechanism, version, when it was changed, whether a server has accepted it.
    Never a secret. One that was rejected twice in a row is blocked: no target tries it until it changes, or for an
    hour and more if no server gave a reason. One that the function cannot use is unusable: `popwatch doctor` says why.

    AWS encrypts the user together with the password, so who may list the logins may also read them.

    \b
    Examples:
      popwatch credentials list
      popwatch credentials list --json | jq -r .name
    """
    found = list_credentials(find(choice))
    if as_json:
        for one in found:
            click.echo(json.dumps(_to_json(one)))
        return
    if not found:
        say("There are no credentials: `popwatch credentials put NAME --user USER`")
    rows = [_row(one) for one in found]
    for line in listed(rows, line_width()):
        click.echo(line)
    for one in found:
        if one.problem:
            say(
                f"{one.name}: {one.problem} Store it again: `popwatch credentials put {one.name} --user USER`", err=True
            )


def _to_json(one: ListedCredential) -> dict[str, Any]:
    since = iso(one.unusable_since) if one.unusable_since else None
    return {**dataclasses.asdict(one), "changed_at": iso(one.changed_at), "unusable_since": since}


def _row(one: ListedCredential) -> list[str]:
    user = clean(one.user, USER_SHOWN) or "(cannot be read)"
    state = f"{one.state} at {whole(one.rejected_by)}" if one.rejected_by else one.state
    state += f" since {utc(one.unusable_since)}" if one.unusable_since else ""
    return [one.name, user, one.mechanism, f"version {one.version}", utc(one.changed_at), state]


@credentials.command()
@click.argument("name")
@click.option("-y", "--yes", is_flag=True, help="Do not ask, although targets name it.")
@click.pass_obj
def remove(choice: Any, name: str, *, yes: bool) -> None:
    """Remove a login, with all its earlier versions. If targets name it, they are listed first, with a question.

    \b
    Examples:
      popwatch credentials remove monitor
    """
    try:
        check_name(name)
    except UnusableCredentialError as error:
        raise UserError(f"{error} Nothing was removed.") from None
    installation = find(choice)
    targets = targets_of(installation.target_table.read())
    using = [target_id for target_id, target in targets.items() if target.policy.login == name]
    if using:
        named = ", ".join(map(whole, using[:MAX_NAMED]))
        more = f" and {len(using) - MAX_NAMED} more" if len(using) > MAX_NAMED else ""
        say(f"Tested without a login then, unless `popwatch targets put ID login=OTHER`: {named}{more}.", err=True)
        if not yes and not confirm(f"Remove {name}?", "Nothing was removed."):
            raise UserError("Nothing was removed.")
    remove_credential(installation, name)
    say(f"Removed: {name}. AWS takes up to 30 seconds before it accepts another one of that name.")
