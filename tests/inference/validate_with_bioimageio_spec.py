"""Validate packages with the reference implementation of the format.

Run by an interpreter that has it, with nothing of smartscope:

    python -m venv /tmp/spec
    /tmp/spec/bin/pip install "bioimageio.spec==0.5.14.3" "pydantic==2.11.10"
    /tmp/spec/bin/python validate_with_bioimageio_spec.py PACKAGE...

Prints one line for each package; exit status 1 if one of them is not valid. No file is
fetched: a connection, should one be tried, is an error.
"""

import os
import socket
import sys
import tempfile


def refuse(*args, **kwargs):
    raise OSError("no network here")


def main(paths):
    os.environ["BIOIMAGEIO_CACHE_PATH"] = tempfile.mkdtemp()
    socket.socket.connect = refuse
    socket.create_connection = refuse
    socket.getaddrinfo = refuse
    from bioimageio.spec import ValidationContext, load_description
    from bioimageio.spec.model.v0_5 import ModelDescr

    good = True
    for path in paths:
        with ValidationContext(perform_io_checks=True, log_warnings=False):
            found = load_description(path)
        summary = found.validation_summary
        valid = isinstance(found, ModelDescr) and summary.status != "failed"
        errors = [f"{e.loc}: {e.msg}" for d in summary.details for e in d.errors]
        print(path, "valid" if valid else f"INVALID {errors}")
        good &= valid
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
