"""The YAML form of a constitution: what people may write, and how it is read.

``load.py`` turns it into values; ``config/schema.py`` prints its JSON Schema for editors.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from cai.config.validation import describe
from cai.constitution.shots import Entry, Text, Turns, Words

ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
MAX_WEIGHT = 1000.0


def _number(value: Any) -> Any:
    if isinstance(value, bool | str):
        raise PydanticCustomError("number", f"must be a number, not {describe(value)}")
    return value


_Bounded = Annotated[float, Field(gt=0.0, le=MAX_WEIGHT)]
Weight = Annotated[_Bounded, BeforeValidator(_number, json_schema_input_type=_Bounded)]


class ExampleEntry(Entry):
    """A prompt with two responses that tell what a principle means: a test of the principle."""

    prompt: Turns = Field(description="what the user says, or a list of turns with role and content")
    violating: Text | None = Field(None, description="a response that breaks the principle (with 'clean')")
    clean: Text | None = Field(None, description="a response in which a critic should find no problem")
    worse: Text | None = Field(None, description="the response that the labeler should rank lower")
    better: Text | None = Field(None, description="the response that the labeler should rank higher")

    @model_validator(mode="after")
    def _one_pair(self) -> ExampleEntry:
        pairs = [(self.violating, self.clean), (self.worse, self.better)]
        whole = [pair for pair in pairs if None not in pair]
        empty = [pair for pair in pairs if pair == (None, None)]
        if len(whole) != 1 or len(empty) != 1:
            raise PydanticCustomError("pair", "needs either 'violating' and 'clean' or 'worse' and 'better'")
        if whole[0][0] == whole[0][1]:
            raise PydanticCustomError("pair", "has two equal responses")
        if self.prompt[-1].role != "user":
            raise PydanticCustomError("last_turn", "has a 'prompt' that does not end with a user's turn")
        return self


class PrincipleEntry(Entry):
    """One principle. Only ``principle`` is required; what is missing is derived from it."""

    id: Annotated[str, Field(max_length=64)] | None = Field(
        None, description="short name, e.g. no-theft; derived from the sentence when absent"
    )
    principle: Words = Field(description="how a good response behaves, in one or two sentences")
    critique: Words | None = Field(None, description="the request for a critique of the last response")
    revision: Words | None = Field(None, description="the request for a better response")
    question: Words | None = Field(None, description="what the labeler is asked about two responses")
    weight: Weight = Field(1.0, description="how often it is drawn, relative to the others")
    tags: list[Words] = Field(default=[], description="words to group principles by, e.g. [safety]")
    examples: list[ExampleEntry] = Field(
        default=[], description="responses that break and keep the principle: its unit tests for 'cai test'"
    )

    @field_validator("id")
    @classmethod
    def _plain_id(cls, value: str | None) -> str | None:
        plain = value is None or (
            value.isascii() and value[:1].isalnum() and all(c.isalnum() or c in "-_." for c in value)
        )
        if not plain:
            raise PydanticCustomError("id", "may have letters, digits, '-', '_' and '.' only, e.g. no-theft")
        return value


def _sentence(value: Any) -> Any:
    if isinstance(value, str):
        return {"principle": value}
    if not isinstance(value, dict | PrincipleEntry):
        raise PydanticCustomError(
            "principle", f"must be a sentence or a mapping with 'principle', not {describe(value)}"
        )
    return value


def _several(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class ConstitutionFile(Entry):
    """A constitution: principles of its own, those of others that it extends, or both."""

    name: Words | None = Field(None, description="default: the file's name")
    description: str = Field("", description="what it is for, in a sentence or two")
    extends: Annotated[list[Text], BeforeValidator(_several, json_schema_input_type=str | list[str])] = Field(
        default=[], description="constitutions whose principles come first: shipped names or paths"
    )
    weights: dict[str, Weight] = Field(
        default={},
        description="factors on inherited weights, e.g. {harmless: 0.3}; a key is an entry of 'extends' "
        "(all that comes from there) or the id of an inherited principle; both together multiply",
    )
    drop: Annotated[list[Text], BeforeValidator(_several, json_schema_input_type=str | list[str])] = Field(
        default=[], description="ids of inherited principles that are left out"
    )
    principles: list[
        Annotated[PrincipleEntry, BeforeValidator(_sentence, json_schema_input_type=str | PrincipleEntry)]
    ] = Field(default=[], description="each one a plain sentence, or a mapping with more to say")

    @model_validator(mode="after")
    def _not_empty(self) -> ConstitutionFile:
        if not self.principles and not self.extends:
            raise PydanticCustomError("no_principles", "has no 'principles' and extends nothing")
        return self
