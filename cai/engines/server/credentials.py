"""What a server is told of who asks: key, headers and parameters, read from the environment and kept nowhere.

A key goes to the host that it belongs to and to no other: OPENAI_API_KEY to OpenAI, and to the server that
OPENAI_BASE_URL names; a provider's own variable to that provider; any variable to the server of the model
whose ``api_key_env`` names it. What a server says is hidden where it repeats a secret.
"""

from __future__ import annotations

import json
import os
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from ipaddress import ip_address
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from cai.config.literal_secrets import VARIABLE, is_secret, literal, literal_field
from cai.config.run_config import ModelConfig
from cai.values.errors import UsageError

#: Whose key lies in which variable, by the host, or by a pattern of hosts that are all that provider's. The
#: first one that is set counts.
PROVIDERS: dict[str, tuple[str, ...]] = {
    "api.openai.com": ("OPENAI_API_KEY",),
    "*.api.openai.com": ("OPENAI_API_KEY",),
    "*.openai.azure.com": ("AZURE_OPENAI_API_KEY",),
    "*.cognitiveservices.azure.com": ("AZURE_OPENAI_API_KEY",),
    "*.services.ai.azure.com": ("AZURE_OPENAI_API_KEY", "AZURE_AI_API_KEY"),
    "api.anthropic.com": ("ANTHROPIC_API_KEY",),
    "generativelanguage.googleapis.com": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    "openrouter.ai": ("OPENROUTER_API_KEY",),
    "api.mistral.ai": ("MISTRAL_API_KEY",),
    "api.together.xyz": ("TOGETHER_API_KEY",),
    "api.together.ai": ("TOGETHER_API_KEY",),
    "api.groq.com": ("GROQ_API_KEY",),
    "api.deepseek.com": ("DEEPSEEK_API_KEY",),
    "api.fireworks.ai": ("FIREWORKS_API_KEY",),
    "api.x.ai": ("XAI_API_KEY",),
    "api.cerebras.ai": ("CEREBRAS_API_KEY",),
    "api.cohere.ai": ("COHERE_API_KEY", "CO_API_KEY"),
    "api.moonshot.ai": ("MOONSHOT_API_KEY",),
    "dashscope.aliyuncs.com": ("DASHSCOPE_API_KEY",),
    "dashscope-intl.aliyuncs.com": ("DASHSCOPE_API_KEY",),
    "integrate.api.nvidia.com": ("NVIDIA_API_KEY",),
    "router.huggingface.co": ("HF_TOKEN",),
    "bedrock-runtime.*.amazonaws.com": ("AWS_BEARER_TOKEN_BEDROCK",),
}
_OPENAI = "OPENAI_API_KEY"
_ANTHROPIC = "ANTHROPIC_API_KEY"
_MESSAGES_VERSION = "2023-06-01"  # of Anthropic's API, the latest
_MESSAGES_ENDING = "of Anthropic's API, it is what stands before /v1/messages"
# What people put where a server wants some key: no secrets, and words that a server's message may well hold.
_DUMMIES = frozenset(
    {"empty", "none", "null", "dummy", "ollama", "lm-studio", "sk-no-key-required", "no-key"}
)
_SURELY_NO_WORD = 16  # characters from which a secret cannot stand in an answer by chance


@dataclass(frozen=True, slots=True)
class Credentials:
    """How to address a server. ``address`` has no user, password, query or slash at its end."""

    address: str
    headers: Mapping[str, str] = field(repr=False)
    query: Mapping[str, str] = field(repr=False)
    variable: str | None  # the one that the key was read from
    expected: str  # the one where a key for this server belongs
    secrets: tuple[str, ...] = field(repr=False)
    ending: str = "most end in /v1"  # of such an address, in words

    def hide(self, text: str) -> str:
        """``text`` of a server's complaint with "[key]" for every secret that it repeats."""
        for secret in self.secrets:
            text = text.replace(secret, "[key]")
        return text

    def hide_in_answer(self, text: str) -> str:
        """``text`` of an answer without secrets; words that are too short to be told from text stay."""
        for secret in self.secrets:
            if len(secret) >= _SURELY_NO_WORD and secret in text:
                text = text.replace(secret, "[key]")
        return text

    @property
    def has_key(self) -> bool:
        return self.variable is not None or any(is_secret(name) for name in self.headers)

    @property
    def advice(self) -> str:
        """What to do about a key that is refused."""
        if self.variable:
            return f"The key comes from {self.variable}: check that it is valid there."
        if any(is_secret(name) for name in self.headers):
            return "The key comes from 'headers' of the configuration: check its variable."
        return (
            f"No key was sent. Set {self.expected}, or name the variable that holds the key with api_key_env"
            + ("." if self.expected == _OPENAI else f" ({_OPENAI} goes to OpenAI alone).")
        )


def credentials(config: ModelConfig, base_url: str, environ: Mapping[str, str] | None = None) -> Credentials:
    """Who asks the server at ``base_url`` for the model of ``config``.

    Raises:
        UsageError: the address cannot be one; a variable that ``config`` names is not set; a key that no
            header can hold; a secret in so many words in the configuration.
    """
    environ = os.environ if environ is None else environ
    address, host, user, written = _address(base_url)
    if name := literal(config.headers) or literal(config.query) or literal_field(config.extra_body):
        raise UsageError(f"{config.name}: '{name}' holds a secret; name a variable instead: ${{NAME}}")
    headers = {name: _expanded(value, f"header {name}", environ) for name, value in config.headers.items()}
    query = {name: _expanded(value, f"parameter {name}", environ) for name, value in config.query.items()}
    given = [(name, value) for values in (config.headers, config.query) for name, value in values.items()]
    named = [variable for name, value in given if is_secret(name) for variable in VARIABLE.findall(value)]
    secrets = [environ[name].strip() for name in named]
    secrets += [value for name, value in written.items() if is_secret(name)]
    own = any(is_secret(name) for name in headers)
    variable, expected = _variable(config, address, host, environ, own)
    key = _key(environ[variable], variable) if variable else None
    if user is not None and "authorization" not in {name.lower() for name in headers}:
        headers["Authorization"] = _basic(*user)
        secrets += [user[1], headers["Authorization"].partition(" ")[2]]
    if key:
        headers = {**_key_header(config, host, key), **headers}
        secrets.append(key)
    if config.engine == "anthropic" and "anthropic-version" not in {name.lower() for name in headers}:
        headers["anthropic-version"] = _MESSAGES_VERSION
    found = Credentials(address, headers, {**written, **query}, variable, expected, _spellings(secrets))
    return replace(found, ending=_MESSAGES_ENDING) if config.engine == "anthropic" else found


def is_loopback(host: str) -> bool:
    """Whether ``host`` is this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _address(base_url: str) -> tuple[str, str, tuple[str, str] | None, dict[str, str]]:
    """(address, host, (user, password) or None, parameters) of a base URL."""
    source = "It comes from base_url, OPENAI_BASE_URL or ANTHROPIC_BASE_URL."
    shown = base_url.rpartition("@")[2].partition("?")[0]
    if "://" not in base_url:
        raise UsageError(
            f"the server's address {shown!r} has no scheme: write http://{shown} or https://. {source}"
        )
    try:
        parts = urlsplit(base_url.strip())
        host, port = parts.hostname or "", parts.port
    except ValueError:  # its words may repeat a password
        raise UsageError(f"the server's address {shown!r} cannot be read. {source}") from None
    if parts.scheme not in ("http", "https") or not host:
        raise UsageError(f"the server's address {shown!r} is none of http:// or https://. {source}")
    place = f"[{host}]" if ":" in host else host
    address = f"{parts.scheme}://{place}{f':{port}' if port else ''}{parts.path.rstrip('/')}"
    user = (unquote(parts.username or ""), unquote(parts.password or "")) if parts.username else None
    return address, host, user, dict(parse_qsl(parts.query))


def _variable(
    config: ModelConfig, address: str, host: str, environ: Mapping[str, str], own: bool
) -> tuple[str | None, str]:
    """(the variable whose key is sent, the one where it belongs)."""
    if (named := config.api_key_env) is not None:
        if named and not environ.get(named, "").strip():
            raise UsageError(
                f"{config.name}: api_key_env names {named}, and that variable is not set. Set it to the key "
                f"of {address}, or write api_key_env: '' for a server that wants none."
            )
        return named or None, named or _OPENAI
    known = next((names for hosts, names in PROVIDERS.items() if fnmatchcase(host, hosts)), ())
    # Without base_url the address is OpenAI's or OPENAI_BASE_URL's: who set that set the key for it. So with
    # Anthropic's, and never the one's key to the other's address.
    mine, base = (
        (_ANTHROPIC, "ANTHROPIC_BASE_URL") if config.engine == "anthropic" else (_OPENAI, "OPENAI_BASE_URL")
    )
    paired = config.base_url is None or _host(environ.get(base)) == host
    names = (*known, *((mine,) if paired and mine not in known else ()))
    expected = (names or ("a variable of your choice",))[0]
    found = next((name for name in names if environ.get(name, "").strip()), None)
    if found and address.startswith("http://") and known:
        raise UsageError(f"{address} would be sent {found} in the clear: write https://.")
    return (None if own else found), expected


def _key_header(config: ModelConfig, host: str, key: str) -> dict[str, str]:
    if config.engine == "anthropic":
        return {"x-api-key": key}
    return {"api-key": key} if host.endswith(".azure.com") else {"Authorization": f"Bearer {key}"}


def _host(url: str | None) -> str | None:
    try:
        return urlsplit(url or "").hostname
    except ValueError:
        return None


def _key(value: str, variable: str) -> str:
    """The key in ``variable`` without blanks around it; the message of an error never shows it."""
    key = value.strip()
    if len(key) > 1 and key[0] == key[-1] and key[0] in "\"'":
        raise UsageError(
            f"the key in {variable} stands in quotes, which would be sent with it: take them away."
        )
    if not key.isascii():
        raise UsageError(
            f"the key in {variable} has characters that no key has (not ASCII, such as a typographic dash or "
            "a blank without width): copy it again."
        )
    if any(character.isspace() or not character.isprintable() for character in key):
        raise UsageError(f"the key in {variable} has a blank or a line break within it: copy it again.")
    return key


def _expanded(value: str, what: str, environ: Mapping[str, str]) -> str:
    """``value`` with variables for ``${NAME}``."""
    for name in VARIABLE.findall(value):
        if not environ.get(name, "").strip():
            raise UsageError(f"{what} of the server takes {name}, and that variable is not set.")
    made = VARIABLE.sub(lambda match: environ[match[1]].strip(), value).strip()
    if what.startswith("header") and not (made.isascii() and (made.isprintable() or not made)):
        raise UsageError(
            f"{what} of the server has characters that no header can hold (not printable ASCII)."
        )
    return made


def _basic(user: str, password: str) -> str:
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


def _spellings(secrets: list[str]) -> tuple[str, ...]:
    """Every secret as it is, as in an address and as in JSON, the longest first."""
    real = {secret for secret in secrets if len(secret) > 3 and secret.lower() not in _DUMMIES}
    spelt = {form for one in real for form in (one, quote(one, safe=""), json.dumps(one)[1:-1])}
    return tuple(sorted(spelt, key=len, reverse=True))
