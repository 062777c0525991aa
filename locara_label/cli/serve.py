"""`locara-label serve`: the server for Label Studio and own clients."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from locara_label.cli.output import EXIT_OK, note

if TYPE_CHECKING:
    from locara_label.settings import Settings

_FLAGS = {
    "host": "host", "port": "port", "name": "names", "model": "model", "prelabel_model": "prelabel_model",
    "text_model": "text_model", "video_model": "video_model", "basic_auth": "basic_auth",
    "label_studio_url": "label_studio_url", "api_key": "api_key",
}  # fmt: skip


@click.command()
@click.option("--host", help="Address to listen on; beyond this machine --basic-auth is needed. [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="[default: 9090]")
@click.option("--name", multiple=True, help="A host name by which this server is asked; may be repeated. '*' for any.")
@click.option("--model", help="Answers clicks: a name of `locara-label models list`, mini or classic.")
@click.option("--weights", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder with its files.")
@click.option(
    "--prelabel-model", help="Fills new tasks: a name of `locara-label models list`, mini or grounded-sam2. [default: none]"
)
@click.option("--text-model", help="Understands text prompts: such a name, or none. [default: the mini one]")
@click.option("--video-model", help="Follows objects through video: a prompt model with a memory, or classic. [default: classic]")
@click.option("--basic-auth", envvar="LOCARA_BASIC_AUTH", help="user:password that Label Studio has to send.")
@click.option("--label-studio-url", envvar="LOCARA_LABEL_STUDIO_URL", help="Where Label Studio is.")
@click.option("--api-key", envvar="LOCARA_LABEL_STUDIO_API_KEY", help="Its access token; better in the environment.")
@click.option("--log-json", is_flag=True, help="One JSON object for each line of the log.")
def serve(weights: Path | None, log_json: bool, **flags: Any) -> int:
    """Serve masks to Label Studio and to own clients until stopped.

    Everything else is a setting: see `locara-label config`. Nothing may be read but what the settings grant.
    """
    from locara_label.settings import load

    given = {_FLAGS[name]: value for name, value in flags.items() if value not in {None, ()}}
    settings = load(server=given) if given else load()
    _check_reach(settings)
    from locara_label.server.opening import open_service
    from locara_label.server.run import run

    service = open_service(settings, weights)
    note(service.said)
    run(service, log_json=log_json)
    return EXIT_OK


def _check_reach(settings: Settings) -> None:
    """A server that others can reach, and that anybody may use, would be an open door to what it may read."""
    from ipaddress import ip_address

    from locara_label.errors import BadOption

    host = settings.server.host
    try:
        local = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        local = False
    if not local and settings.server.basic_auth is None:
        raise BadOption(f"{host} is reachable by others: name a --basic-auth user:password", code="option.basic_auth")
