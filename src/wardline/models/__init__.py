"""Room `models`: architectures, networks in torch, trained models as values, and safe files for them.

Names are loaded when first used, so that whoever needs only an architecture does not wait for torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wardline.core.lazy import lazy

if TYPE_CHECKING:
    from wardline.models.architecture import (
        Architecture,
        Cnn,
        Logistic,
        Mlp,
        ResNet,
        architecture_from_json,
        architecture_to_json,
        columns,
        parameter_count,
        parameter_shapes,
    )
    from wardline.models.dispatch import predictor_of
    from wardline.models.learner import Checkpoint, Learner, NetworkLearner
    from wardline.models.predictor import Differentiable, Gives, Inputs, Predictor
    from wardline.models.saved import SavedModel, model_digest, open_saved
    from wardline.models.stacked import AdamSettings, Stack, train_stack
    from wardline.models.store import load, model_files, model_from_files, save
    from wardline.models.tensors import pack_tensors, unpack_tensors
    from wardline.models.threads import one_thread
    from wardline.models.torch_model import Network, build, torch_generator
    from wardline.models.torch_predictor import TorchPredictor
    from wardline.models.trained import TrainedModel

__all__ = [
    "AdamSettings",
    "Architecture",
    "Checkpoint",
    "Cnn",
    "Differentiable",
    "Gives",
    "Inputs",
    "Learner",
    "Logistic",
    "Mlp",
    "Network",
    "NetworkLearner",
    "Predictor",
    "ResNet",
    "SavedModel",
    "Stack",
    "TorchPredictor",
    "TrainedModel",
    "architecture_from_json",
    "architecture_to_json",
    "build",
    "columns",
    "load",
    "model_digest",
    "model_files",
    "model_from_files",
    "one_thread",
    "open_saved",
    "pack_tensors",
    "parameter_count",
    "parameter_shapes",
    "predictor_of",
    "save",
    "torch_generator",
    "train_stack",
    "unpack_tensors",
]

__getattr__ = lazy(
    __name__,
    {
        "architecture": (
            "Architecture",
            "Cnn",
            "Logistic",
            "Mlp",
            "ResNet",
            "architecture_from_json",
            "architecture_to_json",
            "columns",
            "parameter_count",
            "parameter_shapes",
        ),
        "dispatch": ("predictor_of",),
        "learner": ("Checkpoint", "Learner", "NetworkLearner"),
        "predictor": ("Differentiable", "Gives", "Inputs", "Predictor"),
        "saved": (
            "SavedModel",
            "model_digest",
            "open_saved",
        ),
        "stacked": ("AdamSettings", "Stack", "train_stack"),
        "store": (
            "load",
            "model_files",
            "model_from_files",
            "save",
        ),
        "tensors": (
            "pack_tensors",
            "unpack_tensors",
        ),
        "threads": ("one_thread",),
        "torch_model": (
            "Network",
            "build",
            "torch_generator",
        ),
        "torch_predictor": ("TorchPredictor",),
        "trained": ("TrainedModel",),
    },
    extra="torch",
)
