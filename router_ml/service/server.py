"""The service as a process: it listens once it is warm, and ends when all are answered."""

from __future__ import annotations

import socket
from collections.abc import Callable

import uvicorn

from router_ml.service.app import Service

_DRAIN_S = 30
"""How long requests in progress may take after a signal to end."""


def serve(service: Service, host: str, port: int, ready: Callable[[str], object]) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        service: what answers.
        host: an address; port 0 takes any free one.
        port: on that address.
        ready: told the URL once it listens.

    Raises:
        OSError: it cannot listen there.

    """
    service.warm()
    with _listen(host, port) as listening:
        ready(_url(listening))
        config = uvicorn.Config(
            service.app,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_DRAIN_S,
        )
        uvicorn.Server(config).run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        why = f"cannot listen on {host}:{port}: {error.strerror or error}"
        raise OSError(error.errno, why) from error


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
