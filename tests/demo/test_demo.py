"""``npnet demo``: the page shows what ``npnet generate`` makes, says mistakes in a line, and asks no other host."""

import asyncio
import base64
import html
import importlib.util
import json
import re
import socket
import sys
import urllib.request

import pytest
from hydra import compose, initialize_config_dir

from npnet import cli
from npnet.demo.command import check_address, demo, make_plan
from npnet.demo.maker import MOST_SEEDS, Maker
from npnet.demo.page import build, open_page
from npnet.demo.view import render
from npnet.errors import UserError
from npnet.generation import making
from npnet.paths import config_dir
from npnet.report.formats import MINUS
from npnet.report.wording import DAGGER
from tests.demo.browser import CHROMIUM, tab

PROMPT = "a red circle to the left of a blue square"
METHODS = ["standard", "npnet", "best_of_n"]
KEYS = [f"noise=[{','.join(METHODS)}]", "num_inference_steps=2", "noise.best_of_n.num_candidates=2"]


def composed(*overrides):
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        return compose("demo", [*KEYS, *overrides])


@pytest.fixture(scope="module")
def plan():
    return make_plan(composed())


@pytest.fixture(scope="module")
def maker(plan):
    return Maker(plan)


@pytest.fixture(scope="module")
def served(plan, maker):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("npnet.demo.page.Maker", lambda plan: maker)
        page, address = open_page(plan)
    yield address
    page.close(verbose=False)


def shown_files(text):
    return [base64.b64decode(data) for data in re.findall(r'src="data:image/png;base64,([^"]+)"', text)]


def asked(address, *data):
    """Call the page's function over HTTP, as its own script does; returns what it says last."""
    request = urllib.request.Request(
        f"{address}gradio_api/call/make", json.dumps({"data": data}).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        event = json.load(answer)["event_id"]
    with urllib.request.urlopen(f"{address}gradio_api/call/make/{event}", timeout=60) as stream:
        kind, last = re.findall(r"event: (\w+)\ndata: (.*)", stream.read().decode())[-1]
    assert kind == "complete", last
    return json.loads(last)


def test_the_page_shows_the_pictures_and_scores_of_npnet_generate(plan, maker, tmp_path, monkeypatch):
    notes = {}
    monkeypatch.setattr(making, "draw_side_by_side", lambda *args, **keys: notes.update(args[3]))
    keys = [*KEYS, "metric=[shapes_scorer,shapes_judge]", f"output_dir={tmp_path}", "seeds.list=[7,3]"]
    monkeypatch.setattr(sys, "argv", ["npnet", "generate", PROMPT, *keys])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 0
    made = maker.make(PROMPT, "7, 3", METHODS)
    files = [
        path.read_bytes() for label in METHODS for seed in (7, 3) for path in tmp_path.glob(f"*-{seed}-{label}.png")
    ]
    assert len(files) == 6
    text = render(made, plan.generation.settings, plan.settings.diversity)
    assert shown_files(text) == files
    scores = re.findall(r"shapes_scorer (\S+)</span><span class=\"quiet\">shapes_judge (\S+)</span>", text)
    assert [", ".join(pair).replace(MINUS, "-") for pair in scores] == [
        note for label in METHODS for note in notes[label]
    ]


def test_what_was_made_before_changes_nothing(maker):
    first = maker.make(PROMPT, "1 3", ["npnet"])
    again = maker.make(PROMPT, "1 3", METHODS)
    assert again.files["npnet"] == first.files["npnet"]
    assert again.records["npnet"].scores == first.records["npnet"].scores


def test_the_tables_say_cost_diversity_and_noise(plan, maker):
    made = maker.make(PROMPT, "0 1", METHODS)
    text = render(made, plan.generation.settings, plan.settings.diversity)
    rows = [re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r"<tr><th>\w+</th>(<td>.*?)</tr>", text)]
    scores, noise = rows[: len(METHODS)], rows[len(METHODS) :]
    settings = plan.generation.settings
    for label, row in zip(METHODS, scores, strict=True):
        forwards = settings.noise[label].picture_forwards(settings.backbone, 2, settings.guidance_scale)
        assert row[2] == str(forwards)
        assert row[3] == ("2" if label == "best_of_n" else "0")
        assert row[0].endswith(DAGGER) == (label != "standard")
    assert all(1 <= float(row[1]) <= 2 for row in noise)  # the Vendi score of two pictures
    assert abs(float(noise[0][-1]) - 1) < 0.3  # the variance of standard noise


@pytest.mark.parametrize(
    ("prompt", "seeds", "methods", "said"),
    [
        ("  ", "0", METHODS, "a prompt is needed"),
        ("a fox", "0", METHODS, "not a Shapes prompt"),
        (PROMPT, "", METHODS, "seeds="),
        (PROMPT, "one", METHODS, "seeds=one: 1 to 16 different whole numbers"),
        (PROMPT, "1 1", METHODS, "seeds=1 1"),
        (PROMPT, "-1", METHODS, 'seeds="-1"'),
        (PROMPT, str(2**63), METHODS, f'seeds="{2**63}"'),
        (PROMPT, " ".join(map(str, range(MOST_SEEDS + 1))), METHODS, "seeds=0 1"),
        (PROMPT, "0", [], "at least one method"),
    ],
)
def test_a_mistake_is_one_line(maker, prompt, seeds, methods, said):
    with pytest.raises(UserError) as raised:
        maker.make(prompt, seeds, methods)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_server_makes_pictures_and_says_mistakes(served, maker):
    text, mistake = asked(served, PROMPT, "5", ["standard"])
    assert shown_files(text) == maker.make(PROMPT, "5", ["standard"]).files["standard"]
    assert mistake == ""
    _, mistake = asked(served, "a <b>fox", "5", ["standard"])
    assert "not a Shapes prompt: &#x27;a &lt;b&gt;fox" in mistake
    assert "\n" not in html.unescape(mistake)


def test_without_gradio_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=re.escape('pip install "npnet-lightning[demo]"')):
        demo(composed())


def test_an_address_that_is_taken_is_refused_before_anything_is_loaded():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"port={port}: cannot be listened on"):
            demo(composed(f"port={port}"))
    with pytest.raises(UserError, match=r"host=nowhere\.invalid"):
        check_address("nowhere.invalid", None)


def test_a_prompt_to_begin_with_that_the_model_cannot_read_is_refused():
    with pytest.raises(UserError, match="not a Shapes prompt"):
        make_plan(composed("prompts.list=[a fox]"))


def test_the_page_begins_with_what_the_command_line_says(maker):
    plan = make_plan(composed("prompts.list=[a blue cross above a red circle]", "seeds.list=[4,5]"))
    values = [block["props"].get("value") for block in build(plan, maker).get_config_file()["components"]]
    assert {"a blue cross above a red circle", "4 5"} <= {value for value in values if isinstance(value, str)}


BUTTON = "[...document.querySelectorAll('button')].find(each => each.textContent.trim() == 'Make pictures')"


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium")
def test_in_a_browser_a_click_makes_pictures_and_no_other_host_is_asked(served, tmp_path):
    async def click():
        async with tab(served, tmp_path) as page:
            await page.until(BUTTON + " != null")
            await page.value(BUTTON + ".click()")
            count = await page.until("document.querySelectorAll('.npnet-made img').length")
            wide = await page.value("Math.min(...[...document.querySelectorAll('.npnet-made img')].map(i => i.width))")
            return count, wide, page.requests, page.problems

    count, wide, requests, problems = asyncio.run(click())
    assert count == 4 * len(METHODS)
    assert wide == 128
    assert not problems
    assert [url for url in requests if not url.startswith((served, "data:", "blob:"))] == []
