"""`wardline he`: scores of data that the server never sees."""

from __future__ import annotations

import click

from wardline.cli.he_audit_command import audit
from wardline.cli.he_client_commands import decrypt, encrypt, keys, score
from wardline.cli.he_lookup_commands import lookup
from wardline.cli.he_query_commands import query
from wardline.cli.he_server_commands import certificates, compile_model, explain, serve


@click.group("he")
def command() -> None:
    """Score data that the server never sees: compile a model, serve it, encrypt, score, decrypt."""


for _one in (audit, certificates, compile_model, decrypt, encrypt, explain, keys, lookup, query, score, serve):
    command.add_command(_one)
