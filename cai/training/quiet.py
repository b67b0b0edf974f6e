"""Silence for the libraries below: no telemetry, no bars, no tables, no notices that a user can't act on."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_NOISY = ("transformers", "trl", "peft", "accelerate", "datasets", "torch")


def before_import() -> None:
    """Must run before the first import of TRL or huggingface_hub, which read these when imported."""
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@contextmanager
def quiet() -> Iterator[None]:
    """Errors alone pass while the context lasts."""
    before_import()
    from datasets.utils.logging import disable_progress_bar as datasets_bar_off
    from transformers.utils.logging import disable_progress_bar as transformers_bar_off

    datasets_bar_off()
    transformers_bar_off()  # type: ignore[no-untyped-call]
    loggers = [logging.getLogger(name) for name in _NOISY]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
