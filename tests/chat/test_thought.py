"""A thought is no part of an answer, however a model marks it; cut inside one there is no answer."""

from __future__ import annotations

import pytest
from tiny_models import CHATML, byte_level_tokenizer

from benchmarks.chat_templates import templates, tokenizer_for
from cai.chat.encoding import decode, encode, encode_pair, read
from cai.chat.thought import pairs_of, strip_thinking
from cai.values.types import Message

QUESTION = (Message("user", "Hello world! What is this?"),)
TEXT = {template.name: template.text for template in templates()}
SHAPES = {
    "<think>": "</think>",
    "[THINK]": "[/THINK]",
    "<|START_THINKING|>": "<|END_THINKING|>",
    "<seed:think>": "</seed:think>",
    "◁think▷": "◁/think▷",
    "<|channel>": "<channel|>",
    "<|inner_prefix|>": "<|inner_suffix|>",
    "<mm:think>": "</mm:think>",  # known from the vocabulary alone
    "<|plamo:begin_think:plamo|>": "<|plamo:end_think:plamo|>",
    "<think:6124c78e>": "</think:6124c78e>",
}


def ids(tokenizer, text):
    return list(tokenizer(text, add_special_tokens=False).input_ids)


def with_markers(beginning, end, special):
    from tokenizers import AddedToken

    tokenizer = byte_level_tokenizer(CHATML)
    added = [AddedToken(text, normalized=False, special=special) for text in (beginning, end)]
    tokenizer.add_tokens(added, special_tokens=special)
    return tokenizer


@pytest.mark.parametrize("special", [True, False], ids=["special", "not special"])
@pytest.mark.parametrize(("beginning", "end"), SHAPES.items(), ids=list(SHAPES))
class TestMarkersThatAreTokens:
    def test_the_answer_follows_the_thought(self, beginning, end, special):
        tokenizer = with_markers(beginning, end, special)
        assert read(tokenizer, ids(tokenizer, f"{beginning}\nHm, no.\n{end}\n\nYes.")) == ("Yes.", False)
        assert read(tokenizer, ids(tokenizer, f"{beginning}{end}Yes.")) == ("Yes.", False)

    def test_in_the_middle(self, beginning, end, special):
        tokenizer = with_markers(beginning, end, special)
        text, cut = read(tokenizer, ids(tokenizer, f"First. {beginning}Hm.{end}Then."))
        assert (text.split(), cut) == (["First.", "Then."], False)

    def test_cut_off_inside_there_is_no_answer(self, beginning, end, special):
        tokenizer = with_markers(beginning, end, special)
        assert read(tokenizer, ids(tokenizer, f"{beginning}\nThe answer is: Yes.")) == ("", True)
        assert read(tokenizer, ids(tokenizer, f"No. {beginning}Or yes?")) == ("", True)

    def test_an_end_alone_is_that_of_a_thought_begun_before(self, beginning, end, special):
        tokenizer = with_markers(beginning, end, special)
        assert read(tokenizer, ids(tokenizer, f"Hm, no.{end}\n\nYes.")) == ("Yes.", False)

    def test_after_a_prefill_the_first_words_are_the_answers(self, beginning, end, special):
        tokenizer = with_markers(beginning, end, special)
        text, cut = read(tokenizer, ids(tokenizer, f"A){beginning}Hm.{end} is right"), prefilled=True)
        assert (text, cut) == ("A) is right", False)


def test_a_mention_in_ordinary_tokens_is_text():
    tokenizer = byte_level_tokenizer(CHATML)
    said = "Models write </think> after a thought, and <think> before."
    _, completion = encode_pair(tokenizer, QUESTION, said)
    assert read(tokenizer, completion[:-1]) == (said, False)


@pytest.mark.parametrize("opened", ["<think>\\n", "◁think▷", "<seed:think>", "[THINK]", "<|START_THINKING|>"])
def test_a_thought_that_the_generation_prompt_begins_is_ended(opened):
    text = CHATML.replace("assistant\n' }}{% endif %}", f"assistant\n{opened}' }}}}{{% endif %}}")
    tokenizer = tokenizer_for(text)
    begun = opened.removesuffix("\\n")
    shown = tokenizer.decode(encode(tokenizer, QUESTION))
    end = dict(pairs_of(()))[begun]
    assert shown.rstrip().endswith(end)
    assert shown.count(begun) == shown.count(end) == 1


def test_markers_that_are_text_to_the_tokenizer():
    from tiny_models import TEMPLATES

    tokenizer = byte_level_tokenizer(TEMPLATES["chatml"])
    assert read(tokenizer, ids(tokenizer, "[THINK]Hm.[/THINK]Yes.")) == ("Yes.", False)
    assert read(tokenizer, ids(tokenizer, "◁think▷Hm.")) == ("", True)
    tokenizer.chat_template += "{# <seed:think> </seed:think> #}"
    assert read(tokenizer, ids(tokenizer, "Hm.</seed:think>Yes.")) == ("Yes.", False)


class TestChannels:
    TOKENIZER = staticmethod(lambda: tokenizer_for(TEXT["gptoss"]))
    FINAL = "<|channel|>final<|message|>"
    ANALYSIS = "<|channel|>analysis<|message|>The user wants the capital."

    def test_the_final_channel_is_the_answer(self):
        tokenizer = self.TOKENIZER()
        whole = f"{self.ANALYSIS}<|end|><|start|>assistant{self.FINAL}Paris."
        assert read(tokenizer, ids(tokenizer, whole)) == ("Paris.", False)
        assert read(tokenizer, ids(tokenizer, f"{self.FINAL}Paris.")) == ("Paris.", False)
        assert read(tokenizer, ids(tokenizer, f"{self.FINAL}Paris.<|end|><|start|>assistant")) == (
            "Paris.",
            False,
        )

    @pytest.mark.parametrize("drawn", [ANALYSIS, "Paris.", "", "<|channel|>commentary<|message|>{}<|call|>"])
    def test_without_it_there_is_none(self, drawn):
        tokenizer = self.TOKENIZER()
        assert read(tokenizer, ids(tokenizer, drawn)) == ("", True)

    def test_rows_options_and_prefills_stand_in_it(self):
        from cai.chat.encoding import encode_options

        tokenizer = self.TOKENIZER()
        prompt, completion = encode_pair(tokenizer, QUESTION, "Paris.")
        assert tokenizer.decode(completion) == f"{self.FINAL}Paris.<|return|>"
        assert tokenizer.decode(encode(tokenizer, QUESTION, prefill="P")).endswith(f"{self.FINAL}P")
        asked, options = encode_options(tokenizer, QUESTION, ("A", "B"))
        assert asked == prompt
        assert [tokenizer.decode(option) for option in options] == [f"{self.FINAL}A", f"{self.FINAL}B"]

    def test_a_recipient_announces_it_likewise(self):
        tokenizer = tokenizer_for(TEXT["muse_glimmer"])
        thought = " to=self<|message|>The capital.<|eom|><|start|>assistant"
        assert read(tokenizer, ids(tokenizer, thought + " to=user<|message|>Paris.")) == ("Paris.", False)
        assert read(tokenizer, ids(tokenizer, thought)) == ("", True)
        assert tokenizer.decode(encode_pair(tokenizer, QUESTION, "Paris.")[1]) == (
            " to=user<|message|>Paris.<|eot|>"
        )


def test_ids_that_the_tokenizer_does_not_have_are_shown():
    tokenizer = byte_level_tokenizer(CHATML)
    nameless = len(tokenizer) + 3
    yes, no = ids(tokenizer, "Yes"), ids(tokenizer, " no")
    assert decode(tokenizer, [*yes, nameless, *no]) == "Yes\ufffd no"
    assert read(tokenizer, [nameless]) == ("\ufffd", False)


@pytest.mark.parametrize(
    ("text", "answer", "cut"),
    [
        ("Hm, so.\n</think>\n\nYes.", "Yes.", False),
        ("Hm, so.</think>\nYes.", "Yes.", False),
        ("Hm, so.</think>Yes.", "Yes.", False),
        ("Hm, so.\n[/THINK]\nYes.", "Yes.", False),
        ("Hm.◁/think▷Yes.", "Yes.", False),
        ("The tag `</think>` ends it.", "The tag `</think>` ends it.", False),
        ("Write </think> there.", "Write </think> there.", False),
        ("[THINK]Hm.[/THINK]Yes.", "Yes.", False),
        ("<seed:think>Hm.", "", True),
    ],
)
def test_a_servers_text(text, answer, cut):
    assert strip_thinking(text) == (answer, cut)
