"""Forbids the network to the tests and to every Python process that they start.

The tests put this folder into PYTHONPATH, so each child loads it before anything else. Sockets of this machine's file
system (AF_UNIX: the single instance, PostgreSQL) stay allowed. An audit hook cannot be taken back, and sees what C code
of the `socket` module does, too.
"""

from __future__ import annotations

import socket
import sys

_WATCHED = ("socket.connect", "socket.sendto", "socket.sendmsg")
_LOOKUPS = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo")
_INSTALLED = "_mixdown_offline"


class NetworkUsed(BaseException):
    """Something in the tests reached for the network; not an Exception, so that nothing swallows it by accident."""


def forbid() -> None:
    """Refuse every connection, datagram and name lookup from now on; may be called again."""
    if not hasattr(sys, _INSTALLED):
        setattr(sys, _INSTALLED, True)
        sys.addaudithook(_refuse)


def _refuse(event: str, arguments: tuple[object, ...]) -> None:
    if not event.startswith("socket."):
        return
    if event in _LOOKUPS:
        raise NetworkUsed(f"{event} {arguments[:2]!r}")
    if event in _WATCHED and getattr(arguments[0], "family", None) != socket.AF_UNIX:
        raise NetworkUsed(f"{event} {arguments[1:]!r}")


forbid()
