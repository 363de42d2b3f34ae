"""A model under attack: what may be asked of it, by whom, and how often."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from wardline.attacks.protocol.ledger import QueryLedger, ServiceLost
from wardline.attacks.protocol.spec import Spec
from wardline.core import ServiceError
from wardline.models.predictor import Differentiable, Inputs, Predictor, labels_of

if TYPE_CHECKING:
    from torch import nn


class Access(enum.Enum):
    """What an adversary sees of a model. Each level includes those before it."""

    LABELS = "labels"
    SCORES = "scores"
    WHITE_BOX = "white box"

    def allows(self, needed: Access) -> bool:
        """Whether somebody with this access can mount an attack that needs the other."""
        order = list(Access)
        return order.index(self) >= order.index(needed)


class AccessDenied(ValueError):  # noqa: N818 (the field's word)
    """An attack asked for more than the threat model gives it."""


class Target:
    """A predictor with a threat model around it: all that an attack is given.

    Args:
        predictor: the model.
        spec: what its inputs look like.
        access: what the adversary sees; by default all that the predictor can show.
        ledger: counts queries; by default a fresh one without a cap.
        name: stands for the model in results.

    Raises:
        AccessDenied: for more access than the predictor can give.
    """

    def __init__(
        self,
        predictor: Predictor,
        spec: Spec,
        *,
        access: Access | None = None,
        ledger: QueryLedger | None = None,
        name: str = "model",
    ) -> None:
        if isinstance(predictor, Differentiable):
            most = Access.WHITE_BOX
        else:
            most = Access.LABELS if predictor.gives == "labels" else Access.SCORES
        self.access = most if access is None else access
        if not most.allows(self.access):
            raise AccessDenied(f"this model shows {most.value}, so an adversary cannot have {self.access.value}")
        self.predictor = predictor
        self.spec = spec
        self.ledger = QueryLedger() if ledger is None else ledger
        self.name = name

    @property
    def classes(self) -> int:
        """How many classes the model tells apart."""
        return self.predictor.classes

    def labels(self, x: Inputs) -> npt.NDArray[np.int64]:
        """The class of each input, [rows]; -1 where the model did not answer with finite numbers.

        Raises:
            BudgetSpent: if so many queries are not left; the model is not asked then. Its kind `ServiceLost`, if the
                service behind the target does not answer any more.
        """
        return labels_of(self._ask(x), self.predictor.gives)

    def scores(self, x: Inputs) -> npt.NDArray[np.float32]:
        """Logits up to a constant of each row: [rows, classes]. Of probabilities logarithms are taken.

        Raises:
            AccessDenied: if the adversary sees labels alone.
            BudgetSpent: if so many queries are not left; the model is not asked then. Its kind `ServiceLost`, if the
                service behind the target does not answer any more.
        """
        self.require(Access.SCORES)
        answers = self._ask(x).astype(np.float32)
        if self.predictor.gives == "probabilities":
            answers = np.log(np.maximum(answers, np.finfo(np.float32).tiny))  # NaN stays NaN
        return answers

    def _ask(self, x: Inputs) -> npt.NDArray[Any]:
        self.ledger.charge(len(x))
        try:
            return self.predictor.answer(x)
        except ServiceError as error:
            # Whatever ends asking ends a search alike, so that what it found by then is kept.
            self.ledger.outages.append(str(error))
            raise ServiceLost(str(error)) from error

    def network(self) -> nn.Module:
        """The model as a torch module that yields logits, and charges the ledger for every row it is given.

        Raises:
            AccessDenied: if the adversary has no white-box access.
        """
        self.require(Access.WHITE_BOX)
        if not isinstance(self.predictor, Differentiable):
            raise AccessDenied("this model cannot be differentiated")
        from wardline.attacks.protocol.metered import Metered

        return Metered(self.predictor.network(), self.ledger)

    def require(self, needed: Access) -> None:
        """Refuse an attack that needs more than the adversary has.

        Raises:
            AccessDenied: naming both.
        """
        if not self.access.allows(needed):
            raise AccessDenied(f"this attack needs {needed.value}, the adversary has {self.access.value}")
