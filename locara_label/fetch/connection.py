"""A connection to addresses that have been checked, and to nothing else; bounded in time however slowly its peer answers."""

from __future__ import annotations

import logging
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import httpcore2

from locara_label.fetch.addresses import Address
from locara_label.fetch.budget import POLL_S, Budget
from locara_label.fetch.rules import Rules
from locara_label.fetch.urls import Url

Result = TypeVar("Result")

# at DEBUG it logs the headers of answers, and with them the signed addresses of redirects
if logging.getLogger("httpcore2").level == logging.NOTSET:
    logging.getLogger("httpcore2").setLevel(logging.INFO)


def connect(
    url: Url, addresses: Sequence[Address], trust: ssl.SSLContext | None, rules: Rules, budget: Budget
) -> httpcore2.HTTPConnection:
    """A connection for one request; the certificate has to be that of the host, whichever address answers.

    Args:
        url: what is asked for.
        addresses: of its host, all of them checked.
        trust: root certificates; not None for https.
        rules: how long to wait for the connection and between bytes.
        budget: how long for everything.
    """
    origin = httpcore2.Origin(url.scheme.encode(), url.host.encode(), url.port)
    return httpcore2.HTTPConnection(origin, ssl_context=trust, network_backend=_Backend(addresses, rules, budget))


class _Backend(httpcore2.NetworkBackend):
    """Ignores the host's name: looking it up again could give another address than the checked ones."""

    def __init__(self, addresses: Sequence[Address], rules: Rules, budget: Budget) -> None:
        self._addresses, self._rules, self._budget = addresses, rules, budget

    def connect_tcp(
        self,
        host: str,  # noqa: ARG002
        port: int,
        timeout: float | None = None,  # noqa: ARG002
        local_address: str | None = None,  # noqa: ARG002
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,  # noqa: ARG002
    ) -> httpcore2.NetworkStream:
        """To the first of the checked addresses that answers."""
        failure: Exception = httpcore2.ConnectError("no address")
        for address in self._addresses:
            try:
                return _Stream(self._connected(address, port), self._rules, self._budget)
            except TimeoutError:
                failure = httpcore2.ConnectTimeout("the connection did not open in time")
            except OSError as error:
                failure = httpcore2.ConnectError(error.strerror or type(error).__name__)
        raise failure

    def _connected(self, address: Address, port: int) -> socket.socket:
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        opened = socket.socket(family, socket.SOCK_STREAM)
        try:
            opened.settimeout(min(self._rules.connect_s, self._budget.left_s()))
            opened.connect((str(address), port))
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except BaseException:
            opened.close()
            raise
        return opened


class _Stream(httpcore2.NetworkStream):
    """Waits in short turns, so that a deadline or a stop ends it in the middle of a header too."""

    def __init__(self, opened: socket.socket, rules: Rules, budget: Budget) -> None:
        self._socket, self._rules, self._budget = opened, rules, budget

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        try:
            return self._repeated(lambda: self._socket.recv(max_bytes), self._rules.idle_s)
        except OSError as error:
            raise httpcore2.ReadError(_reason(error)) from None

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        view = memoryview(buffer)
        try:
            while view:
                rest = view
                view = view[self._repeated(lambda rest=rest: self._socket.send(rest), self._rules.idle_s) :]  # type: ignore[misc]
        except OSError as error:
            raise httpcore2.WriteError(_reason(error)) from None

    def close(self) -> None:
        self._socket.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore2.NetworkStream:
        try:
            # the new socket takes over the descriptor of the old one
            self._socket = secured = ssl_context.wrap_socket(
                self._socket, server_hostname=server_hostname, do_handshake_on_connect=False
            )
            self._repeated(secured.do_handshake, self._rules.connect_s)
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise httpcore2.ConnectError(_reason(error)) from None
            raise
        return self

    def get_extra_info(self, info: str) -> Any:
        return self._socket if info == "socket" else None

    def _repeated(self, attempt: Callable[[], Result], patience_s: float) -> Result:
        patient_until = time.monotonic() + patience_s
        while True:
            patience = patient_until - time.monotonic()
            if patience <= 0:
                raise httpcore2.ReadTimeout("no byte for too long")
            self._socket.settimeout(min(self._budget.left_s(), patience, POLL_S))
            try:
                return attempt()
            except TimeoutError:
                continue


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    return error.strerror or type(error).__name__
