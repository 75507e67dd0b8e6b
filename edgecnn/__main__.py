"""`python -m edgecnn` and the command `edgecnn`; from here on nothing is imported from the folder one stands in."""

import os
import sys


def _leave_out_working_folder() -> None:
    """Take the folder one stands in from the places before Python's own library, here and for programs we start.

    `python -m` and an empty entry of PYTHONPATH put it there, where any `json.py` or `torch.py` hides the real one.
    What an installation wrote into its `.pth` files stands behind, and stays.
    """

    def elsewhere(place: str) -> bool:
        try:
            return not os.path.samefile(place or ".", ".")
        except OSError:
            return True

    own = os.path.dirname(os.__file__)
    first = sys.path.index(own) if own in sys.path else 0
    sys.path[:first] = filter(elsewhere, sys.path[:first])
    if "PYTHONPATH" in os.environ:
        places = os.environ["PYTHONPATH"].split(os.pathsep)
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(elsewhere, places))


_leave_out_working_folder()  # before the first import that could be found there

from edgecnn.cli import main  # noqa: E402

if __name__ == "__main__":
    main()
