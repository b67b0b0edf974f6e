"""A model in this process that thinks first: the thought is drawn, capped, ended and counted, never kept."""

from __future__ import annotations

import pytest
from tiny_models import ALWAYS_THINKING, CHATML, THINKING, byte_level_tokenizer, save_tiny_model

from cai.chat.thinking import thinking_as
from cai.config.run_config import LabelConfig, ModelConfig
from cai.engines.backend import fingerprint, open_engine
from cai.engines.local.answers import TextSide
from cai.engines.local.thought_first import complete
from cai.stages.label_question import Question
from cai.stages.label_reading import Way, read
from cai.values.errors import CaiError, NoLogprobsError
from cai.values.types import ChoiceRequest, CompletionRequest, Message, Sampling

QUESTION = (Message("user", "Hello world! What is this?"),)


class Drawn:
    """Says what it is told to, one text for each draw, and remembers what it was asked."""

    def __init__(self, tokenizer, *texts):
        self.tokenizer, self.texts, self.jobs = tokenizer, list(texts), []

    async def __call__(self, job):
        self.jobs.append(job)
        ids = self.tokenizer(self.texts.pop(0), add_special_tokens=False).input_ids[: job.max_tokens]
        for place, token in enumerate(ids):
            if token in job.ends or token == self.tokenizer.convert_tokens_to_ids("<|im_end|>"):
                return ids[: place + 1]
        return ids

    def prompt(self, number):
        return self.tokenizer.decode(self.jobs[number].prompt)


async def said(*texts, most=True, template=THINKING, prefill="", max_tokens=64, stop=()):
    tokenizer = byte_level_tokenizer(template)
    side, draw = TextSide(tokenizer, 512), Drawn(tokenizer, *texts)
    side.thinking = thinking_as(tokenizer, "m", most)
    request = CompletionRequest(QUESTION, Sampling(max_tokens=max_tokens, stop=stop), 3, prefill)
    return await complete(side, request, most, draw), draw


@pytest.mark.parametrize("template", [THINKING, ALWAYS_THINKING], ids=["begun by the model", "by the prompt"])
async def test_the_answer_follows_the_thought_which_is_counted(template):
    begin = "" if template is ALWAYS_THINKING else "<think>"
    answer, draw = await said(
        f"{begin}Hm. No.</think>", "\n\nYes.<|im_end|>", template=template, stop=("No.",)
    )
    assert (answer.text, answer.finish) == ("Yes.", "stop")
    assert answer.thought_tokens == len(draw.jobs[1].prompt) - len(draw.jobs[0].prompt) > 3
    assert answer.completion_tokens > answer.thought_tokens
    assert answer.prompt_tokens == len(draw.jobs[0].prompt)


async def test_a_beginning_stands_behind_the_thought():
    answer, draw = await said("<think>Hm.</think>", "A) is<|im_end|>", prefill="The answer is: (")
    assert draw.prompt(1).endswith("<think>Hm.</think>\n\nThe answer is: (")
    assert answer.text == "A) is"


async def test_at_the_cap_the_thought_is_ended_and_the_answer_has_all_its_tokens():
    answer, draw = await said("<think>" + "Hm, no. " * 40, "Yes.<|im_end|>", most=9, max_tokens=32)
    assert draw.jobs[0].max_tokens == 9 and draw.jobs[1].max_tokens == 32
    assert draw.prompt(1).endswith("\n</think>\n\n") and draw.prompt(1).count("</think>") == 1
    assert (answer.text, answer.finish, answer.thought_tokens) == ("Yes.", "stop", 9)


async def test_without_a_cap_a_thought_that_uses_up_the_tokens_is_cut_off():
    answer, _ = await said("<think>" + "Hm, no. " * 40, max_tokens=20)
    assert (answer.text, answer.finish, answer.thought_tokens) == ("", "length", 20)
    answer, _ = await said("<think>Hm.</think>", "Yes. " * 40, max_tokens=20)
    assert answer.finish == "length" and answer.completion_tokens == 20


async def test_a_turn_that_ends_in_a_thought_holds_no_answer():
    answer, _ = await said("<think>Hm.<|im_end|>", most=40)
    assert (answer.text, answer.finish) == ("", "length")


async def test_a_model_that_answers_at_once_has_answered():
    answer, draw = await said("Yes.<|im_end|>", most=40)
    assert (answer.text, answer.finish, answer.thought_tokens, len(draw.jobs)) == ("Yes.", "stop", 0, 1)
    answer, draw = await said("Yes, yes, yes.", " No.<|im_end|>", most=4, max_tokens=30)
    assert answer.text.endswith(" No.") and answer.finish == "stop"
    answer, draw = await said("Yes.<|im_end|>", "A)<|im_end|>", most=40, prefill="It is (")
    assert answer.text == "A)" and draw.prompt(1).endswith("</think>\n\nIt is (")


@pytest.fixture(scope="module")
def thinker(tmp_path_factory):
    """A random model whose template begins a thought."""
    folder = save_tiny_model(tmp_path_factory.mktemp("thinker") / "model")
    (folder / "chat_template.jinja").write_text(ALWAYS_THINKING)
    return folder


def settings(folder, thinking):
    return ModelConfig(name=str(folder), engine="transformers", thinking=thinking)


async def test_a_model_here_thinks_no_longer_than_it_may(thinker):
    engine = await open_engine(settings(thinker, 7))
    try:
        answer = await engine.complete(CompletionRequest(QUESTION, Sampling(max_tokens=12), 5))
        again = await engine.complete(CompletionRequest(QUESTION, Sampling(max_tokens=12), 5))
        assert answer == again
        assert 0 < answer.thought_tokens <= 7 and answer.completion_tokens <= 7 + 12
        with pytest.raises(NoLogprobsError, match=r"label\.read=samples"):
            await engine.choose(ChoiceRequest(QUESTION, ("A", "B")))
        question, label = Question(QUESTION, ("A", "B"), ("q",)), LabelConfig(samples=2, max_tokens=8)
        reading = await read(question, engine, label, Way(), 0)
        assert reading.votes is not None  # labels of a model that thinks are sampled
    finally:
        await engine.close()


def test_thinking_is_part_of_a_models_identity_and_not_thinking_is_what_it_was(thinker):
    plain, off = fingerprint(settings(thinker, None)), fingerprint(settings(thinker, False))
    assert plain == off
    assert len({plain, fingerprint(settings(thinker, True)), fingerprint(settings(thinker, 64))}) == 3


async def test_a_model_that_cannot_is_refused_when_it_is_opened(tiny_model):
    with pytest.raises(CaiError, match="no switch"):
        await open_engine(settings(tiny_model, True))


async def test_thought_is_counted_though_nobody_asked_for_it():
    tokenizer = byte_level_tokenizer(CHATML)
    side = TextSide(tokenizer, 512)
    draw = Drawn(tokenizer, "<think>Hm, no.</think>\n\nYes.<|im_end|>")
    answer = await complete(side, CompletionRequest(QUESTION, Sampling(), 0), None, draw)
    assert answer.text == "Yes." and 4 < answer.thought_tokens < answer.completion_tokens
    side, draw = TextSide(tokenizer, 512), Drawn(tokenizer, "Yes.<|im_end|>")
    assert (await complete(side, CompletionRequest(QUESTION, Sampling(), 0), None, draw)).thought_tokens == 0
