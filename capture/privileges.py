# SPDX-License-Identifier: BSD-3-Clause
"""``-Z USER``: become somebody with fewer rights, for good."""

from __future__ import annotations

import os
import pwd

from dpcap.capture.errors import AccessError, UsageError


def drop(user: str) -> None:
    """Become a user and member of the user's groups. Raises UsageError or AccessError."""
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise UsageError(f"-Z: there is no user {user}") from None
    if entry.pw_uid == os.geteuid() == os.getuid():
        return
    try:
        os.initgroups(user, entry.pw_gid)
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
    except PermissionError:
        raise AccessError(f"-Z: only root can become {user}: run dpcap as root, or leave -Z out") from None
