"""The socket that a server of this command listens on, and the address at which clients find it."""

from __future__ import annotations

import errno
import ipaddress
import socket

from emerge_core.errors import EmergeError

BACKLOG = 4096  # connections that the kernel holds until they are accepted; it may allow fewer


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, bound before the server starts, so that what is printed about it is true.
    Raises EmergeError if the address cannot be had."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.create_server(address[:2], family=family, backlog=BACKLOG)
        # asyncio sets this on the sockets that it makes itself; without it a reply waits 40 ms for the client's ACK.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise EmergeError(f"port {port} on {host} is in use; choose another with --port") from None
        raise EmergeError(f"cannot listen on {host}, port {port}: {error.strerror}") from None


def root_url(host: str, port: int) -> str:
    """The address for a client on this machine of a server that listens on `host`, such as `http://127.0.0.1:8000`."""
    address = ipaddress.ip_address(host)
    if address.is_unspecified:
        host = "127.0.0.1" if address.version == 4 else "::1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
