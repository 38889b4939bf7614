"""Writing bytes so that a full disk is noticed."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from io import FileIO


def write_all(file: FileIO, data: bytes | memoryview) -> None:
    """Write all of `data` to an unbuffered file.

    Raises
    ------
    OSError
        If the disk does not take it.
    """
    view = memoryview(data)
    while view:
        # A nearly full disk takes a part and says so by the count alone.
        written = file.write(view)
        if not written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        view = view[written:]
