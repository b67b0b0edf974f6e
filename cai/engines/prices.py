"""What a model on a server costs: the user's word, else the public price list of the provider at its address.

The list is genai-prices' (MIT), as of the installed version; it asks the network for nothing. A model at any
other address (a server of one's own, a proxy) has no price by its name alone.
"""

from __future__ import annotations

from functools import cache

from cai.config.run_config import ModelConfig, PriceConfig

MILLION = 1_000_000
CHARACTERS_PER_TOKEN = 4.0  # about, in English; other scripts have fewer
_SAMPLE = 1_000  # tokens; long requests cost more per token at some providers


def price_of(config: ModelConfig, url: str) -> PriceConfig | None:
    """US dollars per million tokens of ``config`` at ``url``; None where they are not known."""
    return config.price or _listed(config.name, url)


def dollars(price: PriceConfig, prompt_tokens: float, completion_tokens: float) -> float:
    return (price.input * prompt_tokens + price.output * completion_tokens) / MILLION


@cache
def _listed(name: str, url: str) -> PriceConfig | None:
    from genai_prices import Usage, calc_price

    try:
        read = calc_price(Usage(input_tokens=_SAMPLE), name, provider_api_url=url)
        written = calc_price(Usage(output_tokens=_SAMPLE), name, provider_api_url=url)
    except (LookupError, ValueError):  # no such provider, no such model, a model without a price
        return None
    scale = MILLION / _SAMPLE
    return PriceConfig(input=float(read.total_price) * scale, output=float(written.total_price) * scale)
