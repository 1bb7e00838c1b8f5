"""A network of one process's own, in which nobody else can connect to what it listens on (Linux).

python private_network.py     # ends with 0 if this machine lets this user have one
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
from pathlib import Path

# include/uapi/linux/sched.h, sockios.h and if.h
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1


def enter() -> None:
    """Move this process, which has one thread yet, to a network that has a loopback device and no other.

    Processes that it starts are there as well. It keeps its user and its files.

    Raises:
        OSError: The kernel or the machine's administrator does not allow it.
    """
    user, group = os.geteuid(), os.getegid()
    try:
        _unshare(_CLONE_NEWNET)
    except PermissionError:  # a user without rights first needs a user namespace of their own
        _unshare(_CLONE_NEWUSER | _CLONE_NEWNET)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))


def _unshare(flags: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.unshare(flags):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "unshare")


if __name__ == "__main__":
    try:
        enter()
    except OSError as error:
        raise SystemExit(str(error)) from None
