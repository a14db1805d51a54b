"""Every metric of conf/metric, and one of somebody else, keeps the laws."""

import dataclasses

import pytest
import torch
from hydra import compose, initialize_config_dir

import npnet.metrics
from npnet.errors import FieldError, UserError
from npnet.instantiate import build
from npnet.laws.metric import BATCH, LAWS, pictures, texts
from npnet.metrics import Metric, ShapesJudge, VLMJudge, load_metrics
from npnet.metrics.runtime.base import Scorer
from npnet.paths import config_dir
from tests.metrics.conftest import LABELS, NAMES
from tests.metrics.outsider import Red, RedScorer


@pytest.fixture(params=LABELS)
def metric(request, metrics):
    return metrics[request.param]


@pytest.mark.parametrize("law", LAWS)
def test_every_metric_keeps_the_law(metric, law):
    LAWS[law](metric)


@pytest.mark.parametrize("name", NAMES)
def test_a_yaml_builds_a_description_with_the_defaults_that_it_shows(name, sources):
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        node = compose(overrides=[f"+metric={name}"]).metric[name]
    made = build(node, f"metric.{name}", Metric)
    fields = {field.name for field in dataclasses.fields(made)}
    assert set(node) - {"_target_"} <= fields
    assert type(made) is sources[name][0], "the tiny files are of another class"
    if name != "hpsv2_0":  # the second YAML of one class
        assert made == type(made)()


def test_every_exported_metric_has_a_yaml(sources):
    exported = {
        value for value in vars(npnet.metrics).values() if isinstance(value, type) and issubclass(value, Metric)
    }
    assert {kind for kind in exported if hasattr(kind, "runtime")} == {sources[name][0] for name in NAMES}


def test_pictures_decide(metric):
    if metric.metric.domain == "shapes" and isinstance(metric.metric, ShapesJudge):
        pytest.skip("noise is wrong in every picture")
    prompts = [texts(metric)[0]] * BATCH
    scores = metric.score(pictures(metric), prompts)
    if (scores == 0).all():  # CLIPScore cuts off at zero
        scores = metric.score(1 - pictures(metric, name="darker") ** 3, prompts)
    assert len(set(scores.tolist())) > 1


def test_notes_say_that_random_weights_mean_nothing(metric):
    assert metric.smoke == (not isinstance(metric.metric, (ShapesJudge, VLMJudge, Red)))
    assert any(note.startswith("smoke") for note in metric.notes()) == metric.smoke


def test_a_description_is_frozen_and_every_attribute_of_a_scorer_is_there_from_the_start(metric):
    with pytest.raises(dataclasses.FrozenInstanceError):
        metric.metric.path = "elsewhere"
    before = set(vars(metric))
    metric.score(pictures(metric), texts(metric))
    assert set(vars(metric)) == before


def test_an_error_of_loading_names_the_label_and_the_key(sources, tmp_path):
    kind, arguments = sources["hpsv2"]
    (tmp_path / "open_clip_config.json").write_text('{"model_cfg": []}')
    broken = kind(**{**arguments, "path": str(tmp_path)})
    with pytest.raises(FieldError, match=r"^metric.mine.path=.*has no model_cfg$"):
        load_metrics({"mine": broken}, "cpu")


def test_a_value_that_a_metric_does_not_take_is_said_with_its_place():
    for node, line in (
        ({"_target_": "npnet.metrics.CLIPScore", "weight": "much"}, r"^metric.own.weight=much: a number is needed$"),
        ({"_target_": "npnet.metrics.HPSv2", "antialias": 1}, r"^metric.own.antialias=1: true or false is needed$"),
        ({"_target_": "npnet.metrics.MPS", "threshold": 2}, r"^metric.own.threshold=2: a number of at least 0 and"),
        (
            {"_target_": "npnet.metrics.AES", "path": None},
            r"^metric.own.path=null: a text .* is needed$",
        ),
    ):
        with pytest.raises(UserError, match=line):
            build(node, "metric.own", Metric)


class Careless(RedScorer):
    def _score(self, images, prompts):
        return (images - images.mean()).flatten(1).amax(1).detach() + torch.rand(1)


@dataclasses.dataclass(frozen=True)
class Broken(Red):
    runtime = Careless

    def preference(self, score_a, score_b):
        return score_b * 0 + 0.7


def test_a_metric_that_breaks_laws_is_told_which():
    broken = []
    for name, law in LAWS.items():
        try:
            law(Broken().load())
        except AssertionError as error:
            broken.append(name)
            assert str(error)
    assert "a picture does not depend on its batch" in broken
    assert "a comparison is a probability" in broken
    assert "gradients reach the pictures where declared" in broken
    assert "what cannot be scored is refused" not in broken


def test_a_scorer_needs_its_own_rule_alone():
    assert Scorer.__abstractmethods__ == {"_score"}
