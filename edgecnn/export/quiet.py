"""Keep what converters print, natively too, away from the user, unless something fails."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from edgecnn.errors import EdgecnnError, library_error, missing_package, place_of


@contextmanager
def quiet(what: str) -> Iterator[None]:
    """Send standard output and error to a file while *what* is done; name its first error line should that fail.

    The converters print from C++, so the file descriptors themselves are turned; and from Python, whose `sys.stdout`
    leads elsewhere in a notebook.

    Raises:
        EdgecnnError: in place of any exception of the converter, with its message as one line.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    level = logging.root.manager.disable
    try:
        with (
            tempfile.TemporaryFile() as sink,
            open(os.devnull, "w") as nowhere,
            contextlib.redirect_stdout(nowhere),
            contextlib.redirect_stderr(nowhere),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            logging.disable(logging.WARNING)
            os.dup2(sink.fileno(), 1)
            os.dup2(sink.fileno(), 2)
            yield
    except (EdgecnnError, OSError, MemoryError):
        raise
    except ModuleNotFoundError as error:
        raise missing_package((error.name or "a package").partition(".")[0], "torch") from error
    except Exception as error:
        raise EdgecnnError(f"{what} failed: {_reason(error)}") from error
    finally:
        logging.disable(level)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):  # the disk with the sink is full: nobody wanted to read it
                stream.flush()
        for number, copy in enumerate(saved, start=1):
            os.dup2(copy, number)
            os.close(copy)


def _reason(error: BaseException) -> str:
    """Return what began it, in one line, and the last line of the user's own code on the way there."""
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and cause not in chain:
        chain.append(cause)
    return library_error(chain[-1]) + place_of(*chain)
