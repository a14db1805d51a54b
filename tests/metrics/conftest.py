"""Every metric, tiny and random, loaded from folders that look like the published ones."""

import pytest

from npnet.metrics import ShapesJudge
from npnet.paths import config_dir
from tests.metrics import tiny
from tests.metrics.outsider import Red

NAMES = sorted(path.stem for path in (config_dir() / "metric").glob("*.yaml"))
LABELS = (*NAMES, "vqascore_llava", "outsider")
"""Every YAML of ``conf/metric``, the second family of vqascore, and a metric of somebody else."""


@pytest.fixture(scope="session")
def sources(tmp_path_factory):
    """Return the class and constructor arguments of each label."""
    written = tiny.write_all(tmp_path_factory.mktemp("metrics"))
    return written | {"shapes_judge": (ShapesJudge, {}), "outsider": (Red, {})}


@pytest.fixture(scope="session")
def metrics(sources):
    """Return each label's scorer, loaded when it is first asked for."""

    class Loaded(dict):
        def __missing__(self, label):
            kind, arguments = sources[label]
            metric = kind(**arguments)
            metric.check()
            self[label] = metric.load("cpu")
            return self[label]

    return Loaded()
