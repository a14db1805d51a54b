"""Running a command's ``main`` as the table of commands does."""

import pytest

from npnet.ending import end


def exit_code(main, *arguments):
    """Return the code with which the command leaves."""
    with pytest.raises(SystemExit) as stopped:
        end(lambda: main(list(arguments)))
    return stopped.value.code
