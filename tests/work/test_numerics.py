"""The keys that say how products are rounded: what a folder's request says of them."""

import pytest

from collect.plan import make_plan as collection
from npnet.evaluation.plan import make_plan as evaluation
from npnet.settings import resolved
from npnet.training.settings import request_of
from npnet.work.numerics import USUAL
from tests.collected import composed

ASKED = {
    "collect": lambda *overrides: collection(composed("collect", "prompts.limit=2", *overrides)).asked,
    "evaluate": lambda *overrides: evaluation(composed("evaluate", "prompts.limit=2", *overrides)).asked,
    "train": lambda *overrides: request_of(resolved(composed("train", "data.shards=pairs", *overrides))),
}


@pytest.mark.parametrize("command", ASKED)
def test_a_request_names_them_only_where_they_are_not_as_usual(command):
    assert not ASKED[command]().keys() & USUAL.keys()  # as in folders made before they could be chosen
    other = {"float32_matmul_precision": "high", "cudnn_tf32": False}
    asked = ASKED[command]("float32_matmul_precision=high", "cudnn_tf32=false")
    assert {key: asked[key] for key in other} == other


def test_an_evaluation_draws_anew_where_products_are_rounded_otherwise():
    plans = [
        evaluation(composed("evaluate", "noise=standard", "prompts.limit=2", *key))
        for key in ([], ["cudnn_tf32=false"])
    ]
    assert plans[0].methods != plans[1].methods
