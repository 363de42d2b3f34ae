"""The policy file, schema 1, as one strict frozen value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field
from pydantic import model_validator as check_whole
from pydantic_core import PydanticCustomError

from wardline.policy.consistency import CONTRADICTION, Parts, contradictions
from wardline.policy.dataset import Dataset
from wardline.policy.fields import Part, Sequence, Text, Whole, refusal, size
from wardline.policy.rules import TaggedGate, Waiver
from wardline.policy.sections import EvidenceOptions, TaggedAttack, TaggedModel, TaggedProtection, Threat


def _some_gate(value: Any) -> Any:
    if value in ([], ()):
        raise refusal("is empty: a gate without rules passes everything", 'begin with "- {rule: claims-hold}"')
    return value


class Policy(Part):
    """What there is, who must not learn what, and what the result must show."""

    # `schema` is the name of a method that pydantic's models still carry, hence the alias.
    schema_version: Annotated[Literal[1], Whole] = Field(
        alias="schema", description="version of this format", examples=[1]
    )
    project: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] = Field(
        description="short name of the project: up to 64 letters, digits, dots, underscores and hyphens",
        examples=["adult-income"],
    )
    purpose: Text = Field(
        description="what the model is for, in one sentence for the report; up to 500 characters",
        examples=["Predict whether a person earns above 50,000."],
    )
    data: Dataset = Field(description="the table and its contract", examples=[{"source": "sklearn:breast_cancer"}])
    model: TaggedModel = Field(description="what is trained", examples=[{"kind": "logistic"}])
    threats: Annotated[tuple[Threat, ...], size(1, 32), Sequence] = Field(
        description="from whom the data is protected; at least one",
        examples=[[{"adversary": "outsider", "access": "artefact", "goal": "membership"}]],
    )
    protections: Annotated[tuple[TaggedProtection, ...], size(1, 32), Sequence] = Field(
        description="what protects the data; at least one",
        examples=[[{"kind": "dp-sgd", "epsilon": 3, "delta": 1e-5}]],
    )
    attacks: Annotated[tuple[TaggedAttack, ...], size(1, 2), Sequence] = Field(
        description="what is tried against the result; at least one, each kind once",
        examples=[[{"kind": "audit", "canaries": 1000}]],
    )
    gates: Annotated[tuple[TaggedGate, ...], size(1, 32), Sequence, BeforeValidator(_some_gate)] = Field(
        description="the rules that must all pass; at least one, each once", examples=[[{"rule": "claims-hold"}]]
    )
    waivers: Annotated[tuple[Waiver, ...], size(0, 32), Sequence] = Field(
        default=(),
        description="rules that a named person lets fail for a while",
        examples=[[{"rule": "accuracy", "who": "A. Person <a@b.example>", "why": "pilot", "until": "2027-06-30"}]],
    )
    evidence: EvidenceOptions = Field(
        default=EvidenceOptions(), description="how the evidence is made", examples=[{"seed": 0}]
    )

    @check_whole(mode="after")
    def _consistent(self) -> Self:
        found = list(
            contradictions(
                Parts(
                    target=self.data.target,
                    unit=self.data.unit,
                    budget=self.data.budget,
                    columns=self.data.columns,
                    protections=tuple(enumerate(self.protections)),
                    attacks=tuple(enumerate(self.attacks)),
                    gates=tuple(enumerate(self.gates)),
                    waivers=tuple(enumerate(self.waivers)),
                )
            )
        )
        if found:
            text = "; ".join(f"{problem.key}: {problem.message}" for problem in found)
            raise PydanticCustomError(CONTRADICTION, "{text}", {"text": text})
        return self

    def to_json(self) -> dict[str, Any]:
        """The policy as plain JSON values, defaults written out, absent options left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The policy that `to_json` wrote.

        Raises:
            pydantic.ValidationError: if the value breaks the schema; `parse_policy` words that for people.
        """
        return cls.model_validate(value)
