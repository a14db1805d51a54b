"""What is asked of a model behind an address, and what becomes of its answers."""

import base64
import io

import pytest
import torch
from PIL import Image

from npnet.errors import FieldError, UserError
from npnet.metrics import VLMJudge
from tests.metrics.judge_server import MODEL, serve

PICTURES = torch.arange(2 * 3 * 4 * 5).view(2, 3, 4, 5) % 256 / 255


@pytest.fixture
def server():
    started = serve()
    yield started
    started.shutdown()
    started.server_close()


def test_the_server_gets_the_very_pixels_and_the_prompt_and_the_key_of_the_environment(server, monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", "secret")
    metric = VLMJudge(url=server.url, model="m", question="show {}?", key_variable="JUDGE_KEY", parallel=1)
    metric.load().score(PICTURES, ["a {red} fox", "b"])
    path, headers, asked = server.seen[0]
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == "Bearer secret"
    assert "secret" not in repr(metric)
    assert (asked["model"], asked["temperature"]) == ("m", 0)
    picture, text = asked["messages"][0]["content"]
    assert text["text"] == "show a {red} fox?"
    sent = Image.open(io.BytesIO(base64.b64decode(picture["image_url"]["url"].partition(",")[2])))
    own = (PICTURES[0] * 255).round().byte().permute(1, 2, 0).numpy()
    assert sent.tobytes() == own.tobytes()


@pytest.mark.parametrize(
    ("reply", "number"),
    [("73", 73), (" 7.5.\n", 7.5), ("80 / 100", 80), ("<think>12 or 13?</think>\n40", 40), ("90 out of 100", 90)],
)
def test_a_number_is_read(reply, number):
    assert VLMJudge().number_of(reply) == number


@pytest.mark.parametrize("reply", ["", "very well", "101", "-3", "between 3 and 5", "Score 3"])
def test_anything_else_is_no_number(reply):
    assert VLMJudge().number_of(reply) is None


def test_the_notes_name_the_servers_model_and_the_digest_of_the_question(server):
    scorer, other = (VLMJudge(url=server.url, question=text).load() for text in ("{}", "well {}"))
    scorer.score(PICTURES, ["a", "b"])
    assert MODEL in scorer.notes()[0]
    assert scorer.judge.question_sha256 in scorer.notes()[0]
    assert scorer.judge.question_sha256 != other.judge.question_sha256


def test_a_busy_server_is_asked_again_and_a_reply_without_a_number_is_one_line(server, monkeypatch):
    monkeypatch.setattr("npnet.metrics.runtime.chat_server.time.sleep", lambda seconds: None)
    plain = VLMJudge(url=server.url).load().score(PICTURES[:1], ["a"])
    server.failures = 2
    assert torch.equal(VLMJudge(url=server.url).load().score(PICTURES[:1], ["a"]), plain)
    server.failures = 1
    with pytest.raises(UserError, match="HTTP 503"):
        VLMJudge(url=server.url, attempts=1).load().score(PICTURES[:1], ["a"])
    server.reply = "I see\na fox"
    with pytest.raises(UserError, match="answered 'I see a fox'; a number from 0 to 100 is needed"):
        VLMJudge(url=server.url).load().score(PICTURES[:1], ["a"])


def test_a_mistake_names_its_key(monkeypatch):
    with pytest.raises(FieldError, match="url=localhost: an address http"):
        VLMJudge(url="localhost")
    with pytest.raises(FieldError, match="question=well: a text with {} in it is needed"):
        VLMJudge(question="well")
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    with pytest.raises(FieldError, match="key_variable=JUDGE_KEY: this environment variable is not set"):
        VLMJudge(key_variable="JUDGE_KEY").load()


def test_a_server_that_is_not_there_is_told_at_loading_and_one_that_goes_at_scoring():
    with pytest.raises(UserError, match="the judge at http://127.0.0.1:9/v1: cannot be reached"):
        VLMJudge(url="http://127.0.0.1:9/v1", attempts=1).load()
    started = serve()
    scorer = VLMJudge(url=started.url, attempts=1).load()
    started.shutdown()
    started.server_close()
    with pytest.raises(UserError, match="cannot be reached"):
        scorer.score(PICTURES[:1], ["a"])
