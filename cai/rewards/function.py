"""A user's Python function as a reward: ``rewards.py:short`` or ``package.module:function``.

    def short(prompts: list[list[dict]], responses: list[str]) -> list[float | None]:
        return [-len(response) / 100 for response in responses]

A prompt is a list of {"role", "content"}. The function may be async; another one runs in a thread, so that
a slow one does not hold up the models. What it raises ends the stage; a value that is no finite number
leaves that response unscored and the others as they are.
"""

from __future__ import annotations

import inspect
import math
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from numbers import Real
from pathlib import Path
from typing import Any

from cai.rewards.reward import Scored
from cai.rewards.userfile import find_function, shown
from cai.run.threads import apart
from cai.values.errors import CaiError
from cai.values.types import Response, as_messages

# sys.exit() in a user's function is that function's fault, not a wish to end the run without a word.
_RAISED = (Exception, SystemExit)


@dataclass(frozen=True, slots=True)
class FunctionReward:
    """``Reward`` of a user's function. ``file`` is where it is written, None where that is unknown."""

    name: str
    fingerprint: str
    function: Callable[..., Any]
    file: Path | None = None

    @classmethod
    def load(cls, spec: str) -> FunctionReward:
        """The function that ``spec`` names; a file's path is relative to the working directory.

        Raises:
            UsageError: there is no such file, module or function, or it does not take two arguments.
            FileError: the file cannot be loaded.
        """
        found = find_function(spec)
        return cls(found.name, found.fingerprint, found.function, found.file)

    async def score(self, responses: Sequence[Response]) -> list[Scored]:
        """Raises CaiError when the function raises or does not give a list of one value per response."""
        if not responses:
            return []
        prompts = [as_messages(response.prompt.messages) for response in responses]
        answer = await self._call(prompts, [response.text for response in responses])
        wanted = f"reward {self.name} must return a list of {len(responses)} numbers, one per response"
        if not isinstance(answer, list | tuple):
            hint = "; end it with .tolist()" if hasattr(answer, "tolist") else ""
            raise CaiError(f"{wanted}; it returned {_kind(answer)}{hint}")
        if len(answer) != len(responses):
            raise CaiError(f"{wanted}; it returned {len(answer)}")
        return [_scored(value) for value in answer]

    async def _call(self, prompts: list[list[dict[str, str]]], texts: list[str]) -> Any:
        call = partial(self._guarded, prompts, texts)
        answer = call() if inspect.iscoroutinefunction(self.function) else await apart(call)
        if inspect.isawaitable(answer):
            try:
                return await answer
            except _RAISED as error:
                raise self._raised(error) from error
        return answer

    def _guarded(self, prompts: list[list[dict[str, str]]], texts: list[str]) -> Any:
        try:
            return self.function(prompts, texts)
        except _RAISED as error:  # here, because a thread cannot hand over every kind (StopIteration)
            raise self._raised(error) from error

    def _raised(self, error: BaseException) -> CaiError:
        frames = list(traceback.extract_tb(error.__traceback__))
        if error.__cause__ is not None:  # StopIteration arrives inside a RuntimeError without its frames
            frames = [*traceback.extract_tb(error.__cause__.__traceback__), *frames]
        own = [frame for frame in frames if self.file is not None and Path(frame.filename) == self.file]
        place = (own or frames)[-1]
        said = traceback.format_exception_only(error)[-1].strip()
        return CaiError(
            f"reward {self.name} raised {said} ({shown(Path(place.filename))}:{place.lineno}: {place.line})"
        )


def _scored(value: Any) -> Scored:
    """True and False count as 1 and 0: a predicate is a natural reward."""
    if value is None:
        return Scored(None, "the function gave None")
    if not isinstance(value, Real):
        return Scored(None, f"the function gave {_kind(value)}, not a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        return Scored(None, f"the function gave {number}")
    return Scored(number)


def _kind(value: Any) -> str:
    return "None" if value is None else f"a value of type {type(value).__name__}"
