"""What steps depend on beside other steps, under one command: settings, and hashes of what lies outside.

``lineage.py`` says which of them a step depends on; ``GIVEN`` says how each is made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cai.config.resources import shipped_folder
from cai.config.run_config import LabelConfig, RunConfig
from cai.constitution.principles import Constitution
from cai.data.promptsets import PromptSets, load_prompts
from cai.data.tables import preference_row, prompt_columns
from cai.engines import models
from cai.engines.backend import fingerprint
from cai.engines.model_files import content_hash
from cai.human.collected import IMPORTED, votes_of
from cai.pipeline.lineage import LINEAGE, Lineage, own_settings, settings_of
from cai.rewards.userfile import sources
from cai.run.folder import RunFolder
from cai.run.journal import digest
from cai.run.origin import HASHED
from cai.values.errors import CaiError
from cai.values.types import Prompt


@dataclass(frozen=True, slots=True)
class Asked:
    """What a command asks for, as far as outputs depend on it. ``earlier``: the rounds before."""

    config: RunConfig
    folder: RunFolder
    constitution: Constitution
    earlier: tuple[RunFolder, ...] = ()


def wanted(asked: Asked, steps: Iterable[str]) -> dict[str, dict[str, str]]:
    """Step → its own inputs (``run/origin.py``) under this command. Every file and model is hashed once."""
    settings = settings_of(asked.config)
    prompts = cache(lambda: load_prompts(asked.config))
    given = cache(lambda name: GIVEN[name](asked, prompts))

    def own(lineage: Lineage) -> dict[str, str]:
        named = own_settings(settings, lineage.settings)
        return named | {f"{HASHED}{name}": given(name) for name in lineage.given}

    return {step: own(LINEAGE[step]) for step in steps if step in LINEAGE}


def _texts(prompts: list[Prompt]) -> str:
    return digest([prompt_columns(prompt) for prompt in prompts])


def _files(paths: list[Path]) -> str:
    found = hashlib.sha256()
    for path in paths:
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "-"
        found.update(f"{path.name}\0{content}\0".encode())
    return found.hexdigest()


def _templates(asked: Asked) -> str:
    own = Path(asked.config.templates) if asked.config.templates else None
    folders = [shipped_folder("prompts"), *([own] if own is not None else [])]
    return _files([path for folder in folders for path in sorted(folder.iterdir())])


def _votes(asked: Asked) -> str:
    """Everybody's votes that lie in the folder, and the file that ``human.votes`` names."""
    named = asked.config.human.votes
    try:
        rows = [preference_row(vote) for vote in votes_of(asked.folder)]
        # People's votes have no interval, and runs of before there were any have hashed them without.
        kept = digest([{name: row[name] for name in row if name != "interval"} for row in rows])
    except CaiError as error:
        kept = str(error)
    return digest(kept, _files([Path(named)] if named else []))


def _read(config: RunConfig) -> str:
    """How judges are read, where that is not as it is by itself."""
    label, plain = config.label, LabelConfig()
    names = ("read", "samples", "stop_early", "min_mass")
    own = {name: getattr(label, name) for name in names if getattr(label, name) != getattr(plain, name)}
    return f" {own}" if own else ""


def _rewards(asked: Asked) -> str:
    """What the reward's terms name: a function's source and what it imports, a reward model's folder."""
    terms = [*asked.config.reward, *([asked.config.gold] if asked.config.gold else [])]
    paths = [Path(term.source.rpartition(":")[0] or term.source) for term in terms]
    folders = [content_hash(path) for path in paths if path.is_dir()]
    judged = _read(asked.config) if any(term.source == "judge" for term in terms) else ""
    own = [path for path in paths if path.is_file()]
    known = {path.resolve() for path in own}
    more = sorted({path for term in terms for path in sources(term.source)} - known)
    return digest(_files(own), folders, *([_files(more)] if more else [])) + judged


def _earlier(asked: Asked) -> str:
    return _files([folder.table(name) for folder in asked.earlier for name in ("preferences", IMPORTED)])


def _graders(asked: Asked) -> str:
    """Who grades: the pocket world's oracle its own prompts, the judge all others."""
    named = (asked.config.prompts, asked.config.evaluate.prompts)
    return digest([(name or "").startswith("pocket:") for name in named])


Given = Callable[[Asked, Callable[[], PromptSets]], str]
GIVEN: Mapping[str, Given] = {
    "model": lambda asked, prompts: fingerprint(asked.config.model),
    "critic": lambda asked, prompts: fingerprint(models.critic(asked.config)),
    "labeler": lambda asked, prompts: fingerprint(models.labeler(asked.config)),
    "judge": lambda asked, prompts: fingerprint(models.judge(asked.config)) + _read(asked.config),
    "constitution": lambda asked, prompts: asked.constitution.fingerprint,
    "templates": lambda asked, prompts: _templates(asked),
    "prompts": lambda asked, prompts: _texts(prompts().train),
    "helpful": lambda asked, prompts: _texts(prompts().helpful),
    "held_out": lambda asked, prompts: _texts(prompts().held_out),
    "graders": lambda asked, prompts: _graders(asked),
    "votes": lambda asked, prompts: _votes(asked),
    "rewards": lambda asked, prompts: _rewards(asked),
    "earlier": lambda asked, prompts: _earlier(asked),
}
