"""Differentially private estimators that work like those of scikit-learn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wardline.core.lazy import lazy

if TYPE_CHECKING:
    from wardline.dp.estimators.logistic import DpLogisticRegression
    from wardline.dp.estimators.trees import DpBoostingClassifier, DpBoostingRegressor

__all__ = ["DpBoostingClassifier", "DpBoostingRegressor", "DpLogisticRegression"]

__getattr__ = lazy(
    __name__,
    {
        "logistic": ("DpLogisticRegression",),
        "trees": ("DpBoostingClassifier", "DpBoostingRegressor"),
    },
    extra="dp",
)
