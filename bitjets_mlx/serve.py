"""bitjets serve    or    python -m bitjets_mlx.serve --port 8000

Speaks for other programs: over HTTP as OpenAI's API has it, with a page at /, and with --wyoming for Home Assistant.
Only this machine reaches it unless --host says otherwise. Where the environment variable BITJETS_TOKEN is set, HTTP is
for those alone who know that token.
"""

import argparse
import asyncio
import ipaddress
import os
import socket
import sys
import warnings
from typing import TYPE_CHECKING

from bitjets_mlx.arguments import Parser
from bitjets_mlx.catalog import DEFAULT_VOICE, find_voice
from bitjets_mlx.errors import BitjetsError, complain, run_command, say

if TYPE_CHECKING:
    from bitjets_mlx.server.limits import Limits
    from bitjets_mlx.voice import Voice

TOKEN = "BITJETS_TOKEN"
SECONDS_TO_STOP = 30  # for what is being spoken


def main() -> None:
    """Parse, load the voices, listen until INT or TERM, let what is being spoken end."""
    arguments = _parser().parse_args()
    try:  # here, so that a package that is missing is named at once
        from bitjets_mlx.server import web  # noqa: F401

        if arguments.wyoming is not None:
            from bitjets_mlx.server import home  # noqa: F401
        from bitjets_mlx.server.limits import Limits
    except ModuleNotFoundError as error:
        raise BitjetsError(f"the server needs {error.name}: run pip install 'bitjets-mlx[serve]'.") from None
    from bitjets_mlx.voice import load_voice

    listening = _listen(arguments.host, arguments.port)
    folders = [find_voice(name) for name in arguments.voice]
    voices = {folder.resolve().name: load_voice(folder) for folder in folders}
    if len(voices) < len(folders):
        raise BitjetsError("two voices have the same name: rename the folder of one.")
    for voice in voices.values():
        voice.speak("Ready.")  # compiles and caches what the first request would wait for
    warnings.simplefilter("ignore")  # of characters that cannot be spoken; kept one by one, they would pile up
    limits = Limits(arguments.requests, arguments.characters, arguments.seconds)
    asyncio.run(_serve(voices, limits, listening, arguments.wyoming))


async def _serve(voices: "dict[str, Voice]", limits: "Limits", listening: socket.socket, wyoming: int | None) -> None:
    import uvicorn

    from bitjets_mlx.server.speaking_thread import SpeakingThread
    from bitjets_mlx.server.web import WebServer

    thread = SpeakingThread(limits.requests)
    token = os.environ.get(TOKEN, "")
    config = uvicorn.Config(
        WebServer(voices, thread, limits, token).app,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        lifespan="off",
        timeout_graceful_shutdown=SECONDS_TO_STOP,
    )
    host, port = listening.getsockname()[:2]
    if not token and not ipaddress.ip_address(host).is_loopback:
        complain(f"warning: whoever reaches {host} can have text spoken: set {TOKEN} to a secret.")
    say(f"http://{f'[{host}]' if ':' in host else host}:{port} speaks with {', '.join(voices)}")
    if wyoming is not None:
        from bitjets_mlx.server import home

        found = await home.listen(voices, thread, limits, host, wyoming)
        say(f"tcp://{f'[{host}]' if ':' in host else host}:{found.sockets[0].getsockname()[1]} for Home Assistant")
    try:
        await uvicorn.Server(config).serve([listening])
    finally:
        thread.stop()


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket; BitjetsError where there can be none."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BitjetsError(
            f"{host} port {port} cannot be listened to ({reason}): give another --host or --port."
        ) from None
    # Connections inherit it. asyncio sets it on sockets of its own only, and without it the second packet of an answer
    # waits until the first is acknowledged, some 40 ms.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def _at_least_one(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="bitjets serve", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voice", nargs="+", default=[DEFAULT_VOICE], metavar="NAME|FOLDER", help="voices (duo)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at, 0.0.0.0 for all (127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, help="0 takes one that is free (8000)")
    parser.add_argument("--wyoming", type=int, metavar="PORT", help="listen for Home Assistant too, usually at 10200")
    parser.add_argument("--requests", type=_at_least_one, default=64, help="at a time; more are told to wait (64)")
    parser.add_argument("--characters", type=_at_least_one, default=4096, help="of one text (4096)")
    parser.add_argument("--seconds", type=_at_least_one, default=600, help="for one request, sending included (600)")
    return parser


if __name__ == "__main__":
    sys.exit(run_command(main))
