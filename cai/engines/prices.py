"""What a model on a server costs: the user's word, else the public price list of the provider at its address.

The list is genai-prices' (MIT), as of the installed version; it asks the network for nothing. A model at any
other address (a server of one's own, a proxy) has no price by its name alone. A batch costs what the list
says of batches, and half where the list, or the user, says nothing of them.
"""

from __future__ import annotations

from functools import cache

from cai.config.run_config import ModelConfig, PriceConfig

MILLION = 1_000_000
CHARACTERS_PER_TOKEN = 4.0  # about, in English; other scripts have fewer
BATCH = 0.5  # of the price: OpenAI's and Anthropic's
_SAMPLE = 1_000  # tokens; long requests cost more per token at some providers


def price_of(config: ModelConfig, url: str, batch: bool = False) -> PriceConfig | None:
    """US dollars per million tokens of ``config`` at ``url``; None where they are not known."""
    whole = config.price or _listed(config.name, url)
    if not batch or whole is None:
        return whole
    listed = None if config.price else _listed(config.name, url, batch=True)
    return listed if listed is not None and listed != whole else _times(whole, BATCH)


def dollars(
    price: PriceConfig, prompt_tokens: float, completion_tokens: float, found: float = 0, kept: float = 0
) -> float:
    """``found`` and ``kept``: tokens of the prompt that were read from a cache, and written to one."""
    read = price.input if price.cache_read is None else price.cache_read
    write = price.input if price.cache_write is None else price.cache_write
    asked = price.input * (prompt_tokens - found - kept) + read * found + write * kept
    return (asked + price.output * completion_tokens) / MILLION


def _times(price: PriceConfig, share: float) -> PriceConfig:
    return PriceConfig(**{name: None if n is None else n * share for name, n in price.model_dump().items()})


@cache
def _listed(name: str, url: str, batch: bool = False) -> PriceConfig | None:
    from genai_prices import Usage, calc_price

    context = {"processing": "batch"} if batch else None
    asked = {
        "input": Usage(input_tokens=_SAMPLE),
        "output": Usage(output_tokens=_SAMPLE),
        "cache_read": Usage(input_tokens=_SAMPLE, cache_read_tokens=_SAMPLE),
        "cache_write": Usage(input_tokens=_SAMPLE, cache_write_tokens=_SAMPLE),
    }
    try:
        found = {
            what: calc_price(usage, name, provider_api_url=url, price_context=context).total_price
            for what, usage in asked.items()
        }
    except (LookupError, ValueError):  # no such provider, no such model, a model without a price
        return None
    return PriceConfig(**{what: float(price) * MILLION / _SAMPLE for what, price in found.items()})
