"""The saved model behind three verbs, on transformers in float32: what the gates talk to."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoTokenizer, LlamaForCausalLM

Turns = list[tuple[str, str]]


class Model:
    """Loads a folder; generates and compares in batches sorted by length."""

    def __init__(self, path: Path, batch: int = 64):
        self.tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
        self.model = LlamaForCausalLM.from_pretrained(
            path, dtype=torch.float32, trust_remote_code=False
        ).eval()
        self.batch = batch

    def ids(self, turns: Turns, prefill: str = "") -> list[int]:
        """Token ids of a conversation, contents spliced between control tokens."""
        one = self.tokenizer.convert_tokens_to_ids
        found = [one("<|begin|>")]
        for role, text in turns:
            found += [
                one(f"<|{role}|>"),
                *self.tokenizer.encode(text, add_special_tokens=False),
                one("<|end|>"),
            ]
        return [*found, one("<|assistant|>"), *self.tokenizer.encode(prefill, add_special_tokens=False)]

    def _batches(self, rows: list[list[int]]) -> list[tuple[list[int], torch.Tensor, torch.Tensor]]:
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        made = []
        for start in range(0, len(order), self.batch):
            chosen = order[start : start + self.batch]
            width = max(len(rows[i]) for i in chosen)
            ids = torch.tensor([[0] * (width - len(rows[i])) + rows[i] for i in chosen])
            mask = torch.tensor([[0] * (width - len(rows[i])) + [1] * len(rows[i]) for i in chosen])
            made.append((chosen, ids, mask))
        return made

    @torch.inference_mode()
    def complete(self, conversations: list[Turns], limit: int = 72, seed: int = 0) -> list[str]:
        """One sample at temperature 1 for each."""
        torch.manual_seed(seed)
        texts = [""] * len(conversations)
        for chosen, ids, mask in self._batches([self.ids(turns) for turns in conversations]):
            out = self.model.generate(
                input_ids=ids,
                attention_mask=mask,
                do_sample=True,
                top_k=0,
                top_p=1.0,
                temperature=1.0,
                max_new_tokens=limit,
            )
            for i, row in zip(chosen, out[:, ids.shape[1] :], strict=True):
                texts[i] = self.tokenizer.decode(row, skip_special_tokens=True)
        return texts

    def prefer_a(self, asked: list[tuple[Turns, str]]) -> list[float]:
        """P(A) of A and B after the prefill, for each."""
        return self.prefer_first(asked, ("A", "B"))

    @torch.inference_mode()
    def prefer_first(self, asked: list[tuple[Turns, str]], options: tuple[str, str]) -> list[float]:
        """P(first option), of two tokens, after the prefill, for each."""
        letters = self.tokenizer.convert_tokens_to_ids(list(options))
        found = [0.0] * len(asked)
        for chosen, ids, mask in self._batches([self.ids(turns, prefill) for turns, prefill in asked]):
            places = (mask.cumsum(-1) - 1).clamp(min=0)
            logits = self.model(
                input_ids=ids, attention_mask=mask, position_ids=places, logits_to_keep=1
            ).logits[:, -1]
            for i, p in zip(chosen, logits[:, letters].softmax(-1)[:, 0].tolist(), strict=True):
                found[i] = p
        return found
