"""A model cut in two: the front runs in the clear at the client, the back is compiled for ciphertexts."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from wardline.core import DataError, UsageError, need
from wardline.he.compiler.calibration import Ranges, calibrate
from wardline.he.compiler.program import Gives, Meaning, Program
from wardline.he.hybrid.front import Floats, Front, ProgramFront, feature_names, program_parameters
from wardline.he.hybrid.leakage import Leakage, leakage_of

_OFF = 1e-3
"""Of the outputs' spread: both parts together may be off by so much, since a front computes in 32 bits."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Split:
    """A model in two parts.

    Attributes:
        front: what clients run; see `wardline.he.hybrid.front.save_front`.
        back: what is to be compiled, on `features` as its sample. Its features' names hold the front's digest.
        at: the name of the back's first layer.
        features: the front's features of the sample, [rows, features]: what the back is calibrated on.
        ranges: of the features over the sample, widened by a tenth.
        leakage: who learns what.
        largest_difference: by which an output of both parts together differs from the whole model's, over the sample.
    """

    front: Front
    back: Program
    at: str
    features: Floats
    ranges: Ranges
    leakage: Leakage
    largest_difference: float

    def evaluate(self, x: npt.NDArray[Any]) -> Floats:
        """Outputs of both parts in the clear: the plain reference of what is computed on ciphertexts."""
        return self.back.evaluate(self.front.features(x))

    def decide(self, x: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """The index of each row's class."""
        return self.back.meaning.decide(self.evaluate(x))


def split(
    model: Any,
    sample: npt.NDArray[Any],
    *,
    at: int | str,
    gives: Gives | None = None,
    classes: Sequence[str] = (),
) -> Split:
    """Cut a model in two.

    The front may hold any layer of `wardline.he.hybrid.modules.SETTINGS`: maxima, rectifiers, normalisations of single
    rows. The back may hold what can be compiled.

    Args:
        model: a torch `Sequential`, with others in it if need be, a `Program`, or one of the house's own models (a Cnn
            or Mlp; `wardline.he.hybrid.modules.in_a_line` names its layers).
        sample: rows like those that will be scored, shaped as the model reads them, at least two.
        at: where the back begins: the place of a layer among those of the top level, or a layer's name (dotted, in a
            `Sequential` in another).
        gives: what the outputs of a torch model are; None takes logits for two or more, and a decision for one. A
            program knows.
        classes: their names, for a torch model.

    Returns:
        Both parts, the features that the back is compiled on, and what the cut gives away. Compile with
        `compile_model(found.back, found.features)`, give `found.front` to the clients.

    Raises:
        UsageError: for a cut that leaves a part empty or does not exist, naming a layer that can stand in neither part,
            or for a model that the two parts do not compute.
        DataError: for a sample that is too small or not finite.

    Guarantee: the server of the back sees ciphertexts alone, as for any compiled model. The front is given away whole,
    and with it what it learned from its training data; nothing here protects it. The back is protected as any compiled
    model is: its replies hide its weights, and metered rows bound what its scores tell (`leakage.rows_to_determine`).
    """
    if type(model).__name__ == "TrainedModel" and type(model).__module__.startswith("wardline."):
        classes = classes or model.classes
        model = need("wardline.he.hybrid.modules", extra="torch").in_a_line(model.module())
    if isinstance(model, Program):
        front, back, name = _cut_program(model, at)
        shape: tuple[int, ...] = model.input_shape
    else:
        front, back, name = _cut_torch(model, at, np.shape(sample)[1:], gives, classes)
        shape = front.input_shape
    rows = np.asarray(sample)
    if len(rows) < 2 or not np.isfinite(rows).all():
        raise DataError("a sample of at least two rows of finite numbers is needed to split a model")
    if rows.shape[1:] != shape:
        raise UsageError(f"the model reads rows of shape {shape}, and the sample's have {rows.shape[1:]}")
    features = front.features(rows)
    alone = front.features(rows[:1])
    if not np.allclose(alone, features[:1], rtol=1e-3, atol=1e-5 * max(float(np.abs(features).max()), 1e-30)):
        raise UsageError("a layer of the front mixes rows of a batch", where=name, hint="leave that layer out")
    off = _difference(model, rows, back.evaluate(features))
    return Split(
        front=front,
        back=back,
        at=name,
        features=features,
        ranges=calibrate(back, features).ranges[0],
        leakage=leakage_of(front_parameters=front.parameters, back_parameters=program_parameters(back), back=back),
        largest_difference=off,
    )


def _cut_program(model: Program, at: int | str) -> tuple[Front, Program, str]:
    names = [layer.name for layer in model.layers]
    place = _place(at, names, tuple(range(len(names))))
    features = model.layers[place].inputs
    front = ProgramFront(
        program=Program(
            input_shape=model.input_shape,
            layers=model.layers[:place],
            meaning=Meaning(gives="values"),
            features=model.features,
        )
    )
    back = Program(
        input_shape=(features,), layers=model.layers[place:], meaning=model.meaning, features=feature_names(front)
    )
    return front, back, names[place]


def _cut_torch(
    model: Any, at: int | str, shape: tuple[int, ...], gives: Gives | None, classes: Sequence[str]
) -> tuple[Front, Program, str]:
    torch = need("torch", extra="torch")
    if not isinstance(model, torch.nn.Sequential):
        raise UsageError(
            f"a {type(model).__name__} is not split",
            hint="give an nn.Sequential, or a Program: a model with branches has no place to cut",
        )
    modules, fronts = (need(f"wardline.he.hybrid.{one}", extra="torch") for one in ("modules", "torch_front"))
    leaves, starts = modules.leaves_of(model)
    place = _place(at, [name for name, _ in leaves], starts)
    front: Front = fronts.TorchFront.of(leaves[:place], tuple(int(one) for one in shape))
    # Dots would be read as modules within modules.
    behind = torch.nn.Sequential(OrderedDict((name.replace(".", "_"), layer) for name, layer in leaves[place:]))
    reader = need("wardline.he.compiler.from_torch", extra="torch")
    if gives is None:
        outputs = reader.read_torch(behind, front.output_shape, gives="values").outputs
        gives = "logits" if outputs > 1 else "decision"
    try:
        back: Program = reader.read_torch(
            behind, front.output_shape, gives=gives, classes=classes, features=feature_names(front)
        )
    except ValueError as error:
        raise UsageError(str(error), hint="check gives and classes") from error
    return (
        front,
        Program(input_shape=(back.inputs,), layers=back.layers, meaning=back.meaning, features=back.features),
        leaves[place][0],
    )


def _place(at: int | str, names: Sequence[str], starts: Sequence[int]) -> int:
    """The place among all layers at which the back begins."""
    if isinstance(at, str):
        found = [index for index, name in enumerate(names) if name == at or name.startswith(f"{at}.")]
        if not found or (names.count(at) > 1):
            raise UsageError(
                f"there is no single layer called {at!r}", hint=f"cut at one of {', '.join(names)}, or at a number"
            )
        place = found[0]
    else:
        if not -len(starts) <= at < len(starts):
            raise UsageError(f"there is no layer {at}", hint=f"the model has {len(starts)} layers at its top level")
        place = starts[at]
    if not 0 < place < len(names):
        raise UsageError(
            "the cut leaves nothing in front of it or behind it",
            hint="compile the whole model, or run all of it in the clear",
        )
    return place


def _difference(model: Any, rows: npt.NDArray[Any], found: Floats) -> float:
    """How far both parts together are from the whole model."""
    if isinstance(model, Program):
        whole = model.evaluate(rows)
    else:
        torch = need("torch", extra="torch")
        threads = need("wardline.models.threads", extra="torch")
        was = model.training
        model.eval()
        with torch.no_grad(), threads.one_thread():
            kind = next(model.parameters()).dtype if any(True for _ in model.parameters()) else torch.float32
            whole = model(torch.from_numpy(np.ascontiguousarray(rows)).to(kind)).double().numpy()
        model.train(was)
        whole = whole.reshape(len(rows), -1)
    off = float(np.abs(whole - found).max())
    if not off <= _OFF * max(float(np.ptp(whole)), 1e-30):
        raise UsageError(
            f"both parts together are off by {off:.2g} from the whole model",
            hint="a layer computes otherwise than its kind does; build the model of ordinary layers",
        )
    return off
