import pytest
from omegaconf import OmegaConf

from npnet.report.command import evaluate
from tests.evaluation.extra_fakes import config


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The folder of a finished run of ``config()``: 24 pairs, 12 prompts, a search among the methods."""
    folder = tmp_path_factory.mktemp("evaluation") / "run"
    evaluate(OmegaConf.create(config(output_dir=str(folder))))
    return folder
