import pytest

from tests.collected import collect_small


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """The folder of a small collection that nothing disturbed; read it, and leave it as it is."""
    return collect_small(tmp_path_factory.mktemp("undisturbed"))
