"""Running the server: uvicorn, logs, a stop that answers what was accepted."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import re
import signal
import socket
import threading
from collections.abc import Sequence
from typing import Any

import uvicorn

from locara_label.errors import RunError
from locara_label.server.app import CLOSE_S, create_app
from locara_label.server.reasons import Protocol
from locara_label.server.service import Service
from locara_label.settings import Settings

log = logging.getLogger("locara_label.server")

STOP_S = 20
_SENT_S = 0.3
_BACKLOG = 2048
_SECRETS = re.compile(r"""(?i)(\b(?:token|basic|bearer)\s+)[\w.+/=~-]{8,}|([?&](?!d=)[^=\s&"']+=)[^&\s"']+""")
"""Credentials of a header, and all that an address asks for but the path of a local file: a presigned address is a key."""


class Redacted(logging.Filter):
    """Takes credentials out of messages and tracebacks, whoever wrote them: those that are known, and what looks like some."""

    def __init__(self, known: Sequence[str] = ()) -> None:
        super().__init__()
        self._known = [secret for secret in known if secret]

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = self._without(record.getMessage()), None
        if record.exc_info:
            record.exc_text = self._without(logging.Formatter().formatException(record.exc_info))
            record.exc_info = None
        return True

    def _without(self, text: str) -> str:
        for secret in self._known:
            text = text.replace(secret, "***")
        return _SECRETS.sub(lambda match: (match[1] or match[2]) + "***", text)


class AsJson(logging.Formatter):
    """One object a line: time, level, logger, message, the code of an error, and the traceback of one that nobody thought of."""

    def format(self, record: logging.LogRecord) -> str:
        line = {"time": self.formatTime(record), "level": record.levelname, "logger": record.name, "message": record.getMessage()}
        more = {"code": getattr(record, "code", None), "traceback": record.exc_text}
        return json.dumps(line | {name: value for name, value in more.items() if value is not None}, ensure_ascii=False)


def secrets_of(settings: Settings) -> tuple[str, ...]:
    """What no line of the log may hold: tokens, and user and password in all their forms."""
    login = settings.server.basic_auth.get_secret_value() if settings.server.basic_auth else ""
    tokens = (one.get_secret_value() for one in (settings.token, settings.server.api_key) if one)
    return (*tokens, *((login, base64.b64encode(login.encode()).decode(), login.partition(":")[2]) if login else ()))


def log_config(*, as_json: bool, secrets: Sequence[str] = ()) -> dict[str, Any]:
    """For `logging.config.dictConfig`: everything to standard error, redacted."""
    plain = {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}
    handler = {"class": "logging.StreamHandler", "formatter": "lines", "filters": ["redacted"]}
    loggers = {name: {"handlers": ["stderr"], "level": "INFO", "propagate": False} for name in ("uvicorn", "locara_label")}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"redacted": {"()": Redacted, "known": list(secrets)}},
        "formatters": {"lines": {"()": AsJson} if as_json else plain},
        "handlers": {"stderr": handler},
        "loggers": {**loggers, "uvicorn.access": {"level": "WARNING"}},
    }


def run(service: Service, *, log_json: bool = False) -> None:
    """Serves until SIGINT or SIGTERM; requests that were accepted are answered first, within `STOP_S` seconds.

    Call it in the main thread: it takes over both signals, for good.

    Raises:
        RunError: code run.listen; the address is taken or is none of this machine's.
    """
    server = service.settings.server
    config = uvicorn.Config(
        create_app(service),
        log_config=log_config(as_json=log_json, secrets=secrets_of(service.settings)),
        timeout_graceful_shutdown=STOP_S,
        server_header=False,
        proxy_headers=False,
        lifespan="on",
        http=Protocol,
        ws="none",
        h11_max_incomplete_event_size=32 << 10,
    )
    try:
        sockets = listening(server.host, server.port)
    except RunError:
        service.close()
        raise
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stopped)
    log.info("running on %s", _address(sockets[0], server.path))
    _Server(config, service).run(sockets)
    _leave_behind()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        last = threading.Timer(STOP_S + CLOSE_S, _leave)
        last.daemon = True
        last.start()
        for end in self._service.long_answers:
            end()
        # Uvicorn closes connections on which no request was read yet; what was sent already may still lie in the kernel.
        await asyncio.sleep(0)
        for server in self.servers:
            server.close()
        await asyncio.sleep(_SENT_S)
        await super().shutdown(sockets)


def _leave_behind() -> None:
    """Ends the process now if a model still runs; Python would wait for its thread as long as that takes."""
    if any(thread is not threading.current_thread() and not thread.daemon for thread in threading.enumerate()):
        _leave()


def _leave() -> None:
    log.warning("stopped while a model still ran")
    logging.shutdown()
    os._exit(0)


def listening(host: str, port: int) -> list[socket.socket]:
    """A socket for each address that the host has here, all with one port; connections wait until they are accepted.

    Raises:
        RunError: code run.listen.
    """
    sockets: list[socket.socket] = []
    try:
        for family, address in _addresses(host, port):
            taken = sockets[0].getsockname()[1] if sockets else port
            sockets.append(socket.create_server((address, taken), family=family, backlog=_BACKLOG))
            # asyncio does this to sockets of its own only; without it the body of an answer waits 40 ms for its head
            sockets[-1].setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        for one in sockets:
            one.close()
        reason = error.strerror or error
        raise RunError(
            f"cannot listen on {host}, port {port}: {reason}; name another --port or --host", code="run.listen"
        ) from None
    return sockets


def _addresses(host: str, port: int) -> list[tuple[socket.AddressFamily, str]]:
    """What a name stands for; of a name with several addresses only those of kinds that this machine has."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    known = list(dict.fromkeys((socket.AddressFamily(family), str(address[0])) for family, _, _, _, address in found))
    usable = [one for one in known if one[0] != socket.AF_INET6 or _has_ipv6()]
    return usable or known


def _has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def _address(listens: socket.socket, path: str) -> str:
    host, port = listens.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}{path}"


def _stopped(_number: int, _frame: object) -> None:
    """Uvicorn raises the signal again after its orderly stop; that would make a stop look like a crash."""
