from dataclasses import replace

import pytest

from npnet.papers.asked import Asked
from npnet.papers.planning import plan
from npnet.papers.setting import settings
from npnet.papers.table import tables
from tests.evaluation.conftest import finished

__all__ = ["finished"]


class Saying(Asked):
    """Gives every setting as the fakes need it."""

    def setting(self, name):
        return replace(settings()[name], metrics=("close",))


@pytest.fixture(scope="session")
def planned(tmp_path_factory):
    """The jobs of every table on every setting where it can be made: (table, setting) -> jobs."""
    folder = tmp_path_factory.mktemp("prompts")
    for name in ("simple_cases.json", "complex_cases.json"):
        (folder / name).write_text('["a cat and a dog"]')
    return {
        (name, where): plan(name, table, where, Asked(inputs=folder))
        for name, table in tables().items()
        for where, setting in settings().items()
        if table.why_not(where, setting) is None
    }
