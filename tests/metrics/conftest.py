"""Every metric, tiny and random, loaded from folders that look like the published ones."""

import pytest

from tests.metrics import tiny

LABELS = (
    "hpsv2",
    "hpsv2_0",
    "pickscore",
    "aes",
    "imagereward",
    "clipscore",
    "mps",
    "vqascore",
    "vqascore_llava",
    "shapes_scorer",
    "shapes_judge",
)


@pytest.fixture(scope="session")
def sources(tmp_path_factory):
    """Return the class and constructor arguments of each label."""
    from npnet.metrics import ShapesJudge

    return tiny.write_all(tmp_path_factory.mktemp("metrics")) | {"shapes_judge": (ShapesJudge, {})}


@pytest.fixture(scope="session")
def metrics(sources):
    """Return each label's metric, loaded when it is first asked for."""

    class Loaded(dict):
        def __missing__(self, label):
            kind, arguments = sources[label]
            self[label] = kind(**arguments)
            self[label].check()
            return self[label].load("cpu")

    return Loaded()
