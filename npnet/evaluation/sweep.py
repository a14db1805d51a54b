"""The former name of ``python -m npnet.report.sweep``, which still works."""

from __future__ import annotations

import sys

from npnet.description import imported
from npnet.ending import end

if __name__ == "__main__":
    end(lambda: imported("npnet.report.sweep:main")(sys.argv[1:]))
