"""The parts `model`, `threats`, `protections`, `attacks` and `evidence` of the policy."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, Field, WrapSerializer
from pydantic import model_validator as check_whole

from wardline.policy.fields import Distinct, Part, Positive, Sequence, Share, Text, as_dict, refusal, size
from wardline.policy.rules import Method

Width: TypeAlias = Annotated[int, Field(ge=1, le=4096)]


class LogisticModel(Part):
    """Multinomial logistic regression."""

    kind: Literal["logistic"] = Field(description="logistic regression", examples=["logistic"])


class MlpModel(Part):
    """A multilayer perceptron, for tables."""

    kind: Literal["mlp"] = Field(description="multilayer perceptron", examples=["mlp"])
    hidden: Annotated[tuple[Width, ...], size(1, 8), Sequence] = Field(
        description="widths of the hidden layers, in units; from 1 to 8 layers of 1 to 4,096 units", examples=[[64]]
    )


class CnnModel(Part):
    """A small convolutional network, for images whose pixels are the feature columns in order."""

    kind: Literal["cnn"] = Field(description="convolutional network", examples=["cnn"])
    shape: Annotated[tuple[Width, Width, Width], Sequence] = Field(
        description="channels, height and width of an image, the latter two in pixels; each from 1 to 4,096",
        examples=[[1, 8, 8]],
    )
    channels: Annotated[tuple[Width, ...], size(1, 8), Sequence] = Field(
        description="channels after each convolution; from 1 to 8 convolutions of 1 to 4,096 channels; each halves "
        "height and width",
        examples=[[16, 32]],
    )
    hidden: Width = Field(description="width of the dense layer behind the convolutions, in units", examples=[32])

    @check_whole(mode="after")
    def _pixels(self) -> CnnModel:
        if min(self.shape[1:]) >> len(self.channels) < 1:
            raise refusal(
                f"{len(self.channels)} convolutions halve {self.shape[1]} x {self.shape[2]} pixels to nothing",
                "list fewer channels",
            )
        return self


Model: TypeAlias = LogisticModel | MlpModel | CnnModel
"""What is trained."""

TaggedModel: TypeAlias = Annotated[Model, Field(discriminator="kind")]


class Threat(Part):
    """Somebody who must not learn something, and what they have in hands."""

    adversary: Text = Field(description="who they are, in a word or two", examples=["outsider"])
    access: Literal["labels", "scores", "artefact"] = Field(
        description="what they get: predicted labels only, scores of all classes, or the model's files",
        examples=["artefact"],
    )
    goal: Literal["membership", "attribute", "reconstruction", "extraction"] = Field(
        description="what they want: to learn whether a person is in the data, an unknown attribute of a person, "
        "training data itself, or a copy of the model",
        examples=["membership"],
    )


class DpSgd(Part):
    """Train by differentially private stochastic gradient descent.

    The noise is never given: it is calibrated to epsilon and delta. What is left out gets a default that is
    derived from the number of units, never from their values.
    """

    kind: Literal["dp-sgd"] = Field(description="differentially private training", examples=["dp-sgd"])
    epsilon: Positive = Field(
        description="the most that the released model may reveal about one unit, as privacy loss; a finite number",
        examples=[3],
    )
    delta: Share = Field(
        description="the probability mass on which epsilon may not hold; must be below 1 / number of training units, "
        "which is checked when the plan is made",
        examples=[1e-5],
    )
    clip_norm: Positive | None = Field(
        default=None, description="largest L2 norm of one unit's gradient; longer ones are shortened", examples=[1.0]
    )
    batch: Annotated[int, Field(ge=1, le=10_000_000)] | None = Field(
        default=None, description="expected number of units in a step", examples=[256]
    )
    epochs: Annotated[float, Field(gt=0, le=100_000)] | None = Field(
        default=None, description="expected number of passes over the data", examples=[20]
    )
    learning_rate: Positive | None = Field(default=None, description="step size", examples=[0.5])


Tunable: TypeAlias = Literal["clip_norm", "batch", "epochs", "learning_rate"]


def _freeze_grid(value: Mapping[Tunable, tuple[float, ...]]) -> Mapping[Tunable, tuple[float, ...]]:
    return MappingProxyType(dict(value))


class Search(Part):
    """Try several settings and keep the best.

    On private data that reveals something in addition to what dp-sgd accounts for (Papernot and Steinke
    2022), so it contradicts dp-sgd in this schema and is refused when the plan is made.
    """

    kind: Literal["search"] = Field(description="search for settings", examples=["search"])
    on: Literal["private", "public"] = Field(
        description="the data on which settings are compared: the protected data itself, or other, public data",
        examples=["public"],
    )
    grid: Annotated[
        Mapping[Tunable, Annotated[tuple[Positive, ...], size(1, 100), Distinct, Sequence]],
        size(1, 4),
        AfterValidator(_freeze_grid),
        WrapSerializer(as_dict),
    ] = Field(
        description="the settings (clip_norm, batch, epochs, learning_rate), each with 1 to 100 values to try",
        examples=[{"learning_rate": [0.1, 0.5]}],
    )


class Scaling(Part):
    """Scale features by statistics of the data.

    Means and deviations of private data are themselves private, and dp-sgd does not account for them: it
    contradicts dp-sgd and is refused when the plan is made. The ranges of the columns serve instead.
    """

    kind: Literal["scaling"] = Field(description="scale by statistics of the data", examples=["scaling"])
    fit: Literal["data"] = Field(description="where the statistics come from", examples=["data"])


Protection: TypeAlias = DpSgd | Search | Scaling
"""What is done before the model leaves the house."""

TaggedProtection: TypeAlias = Annotated[Protection, Field(discriminator="kind")]


class MembershipAttack(Part):
    """Try to tell who was in the training data."""

    kind: Literal["membership"] = Field(description="membership inference", examples=["membership"])
    methods: Annotated[tuple[Method, ...], size(1, 3), Distinct, Sequence] = Field(
        default=("loss", "rmia", "lira"),
        description="how: loss (Yeom et al. 2018), rmia (Zarifzadeh et al. 2024), lira (Carlini et al. 2022)",
        examples=[["loss", "rmia", "lira"]],
    )
    references: int = Field(
        default=16,
        ge=4,
        le=1024,
        multiple_of=2,
        description="number of reference models that the attacker trains, even; more make it stronger and slower",
        examples=[16],
    )
    fpr: Annotated[tuple[Share, ...], size(1, 10), Distinct, Sequence] = Field(
        default=(0.01, 0.001),
        description="false-positive rates at which the true-positive rate is measured; from 1 to 10 of them",
        examples=[[0.01, 0.001]],
    )


class AuditAttack(Part):
    """Insert canaries, train, and count how many can be told apart: a lower bound on the real epsilon.

    Steinke, Nasr and Jagielski 2023, one training run.
    """

    kind: Literal["audit"] = Field(description="one-run privacy audit", examples=["audit"])
    canaries: int = Field(
        default=1000, ge=16, le=100_000, description="number of canaries, half of them left out", examples=[1000]
    )
    confidence: float = Field(
        default=0.95, ge=0.5, lt=1, description="confidence of the lower bound, as a probability", examples=[0.95]
    )


Attack: TypeAlias = MembershipAttack | AuditAttack
"""What is tried against the result."""

TaggedAttack: TypeAlias = Annotated[Attack, Field(discriminator="kind")]


class EvidenceOptions(Part):
    """How the evidence is made."""

    title: Text | None = Field(
        default=None, description="the report's title; by default the project", examples=["Pilot"]
    )
    seed: int = Field(
        default=0,
        ge=0,
        le=2**53 - 1,
        description="seed of splits, initial weights and attacks; never of the protecting noise, which has none",
        examples=[0],
    )
