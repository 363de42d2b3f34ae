"""What a person names as a model, opened as a target: a file of ours, an import path, an address."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from wardline.attacks.protocol.derived_spec import spec_from_examples
from wardline.attacks.protocol.ledger import QueryLedger
from wardline.attacks.protocol.spec import InputSpec, Spec, TextSpec
from wardline.attacks.protocol.target import Access, Target
from wardline.core import Seeds, UsageError
from wardline.models import load, open_saved
from wardline.models.dispatch import predictor_of
from wardline.models.predictor import Gives, Inputs, Predictor
from wardline.models.remote_predictor import RemotePredictor
from wardline.models.text import TextModel
from wardline.models.trained import TrainedModel

_FORMS = (
    "name a folder or file of a model that this package saved, an import path package.module:name, "
    "or an address http(s)://"
)
_IMPORT = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_UNPICKLED = {".bin", ".ckpt", ".dill", ".joblib", ".pickle", ".pkl", ".pt", ".pth", ".npy"}
_OTHERS = {".gguf", ".h5", ".keras", ".onnx", ".pb", ".skops", ".tflite"}
_PROBES = 8

_Made = TypeVar("_Made")


def open_target(
    where: str,
    *,
    spec: Spec | None = None,
    examples: Inputs | None = None,
    classes: int | None = None,
    gives: Gives | None = None,
    access: Access | None = None,
    cap: int | None = None,
    token_env: str = "",
) -> Target:
    """Open a model as a target.

    An import path runs that module's code: give only one that you trust, as for any Python program. It may name a
    torch module, a scikit-learn estimator, a function from inputs to answers, a predictor, or something without
    arguments that makes one of these; modules in the current folder are found, after those that are installed. A
    file is only ever read as one of Wardline's own models, and nothing is unpickled.

    Args:
        where: a folder or file, an import path ``package.module:name``, or an address ``http(s)://...``.
        spec: what its inputs look like.
        examples: inputs that `spec` is derived from where it is not given, and whose answers tell what the model
            answers. Without both, a model of ours for images takes [0, 1], and a service may describe its inputs.
        classes: how many classes it tells apart; needed where the model answers with labels.
        gives: what it answers, where that is known.
        access: what the adversary sees; by default all that the model can show.
        cap: the most queries there may ever be; None for no end. What it takes to learn the form of the answers (up to
            eight inputs) comes before and is not counted.
        token_env: the environment variable that holds a bearer token for the address.

    Raises:
        UsageError: if it is none of these, cannot be imported, or does not answer as stated.
        DataError: if a file cannot be read.
        IntegrityError: if a file is no model of ours.
        ServiceError: if a service cannot be reached or does not answer.
    """
    if spec is None and examples is not None:
        spec = _told(lambda: spec_from_examples(examples), where)
    probes = _probes(spec, examples)
    if re.match(r"https?://", where, re.IGNORECASE):
        remote = RemotePredictor.connect(where, probes=probes, classes=classes, gives=gives, token_env=token_env)
        spec = spec or (InputSpec(shape=remote.shape) if remote.shape else None)
        predictor: Predictor = remote
        name = remote.place
    else:
        model = _model(where)
        spec = spec or _own_spec(model)
        if probes is None:
            probes = _probes(spec, None)
        predictor = _told(lambda: predictor_of(model, example=probes, classes=classes, gives=gives), where)
        name = where
    if classes is not None and predictor.classes != classes:
        raise UsageError(f"the model tells {predictor.classes} classes apart, not {classes}", where=name)
    if spec is None:
        raise UsageError("nothing says what the model's inputs look like", where=name, hint="give examples or a spec")
    return _told(lambda: Target(predictor, spec, access=access, ledger=QueryLedger(cap=cap), name=name), name)


def _model(where: str) -> Any:
    path = Path(where)
    if path.exists():
        return _from_files(path)
    if _IMPORT.fullmatch(where):
        return _imported(where)
    raise UsageError("there is no such model", where=where, hint=_FORMS)


def _from_files(path: Path) -> Any:
    suffix = path.suffix.lower()
    if path.is_file() and suffix in _UNPICKLED:
        raise UsageError(
            "this file would have to be unpickled, which runs whatever code it holds",
            where=str(path),
            hint="write a module with a function that loads the model, and name it as package.module:function",
        )
    if path.is_file() and suffix in _OTHERS | {".py"}:
        raise UsageError(
            f"{suffix} files are not read",
            where=str(path),
            hint="write a module with a function that loads the model, and name it as package.module:function",
        )
    saved = open_saved(path)
    if saved is not None:
        return saved[0]
    if path.is_file():
        raise UsageError("this file is no model of this package", where=str(path), hint=_FORMS)
    return load(path)  # which says what is missing


def _imported(where: str) -> Any:
    module, _, attribute = where.partition(":")
    with _current_folder_last():
        try:
            found: Any = importlib.import_module(module)
        except Exception as error:
            missing = isinstance(error, ModuleNotFoundError)
            raise UsageError(
                f"{module} cannot be imported: {type(error).__name__}: {error}",
                where=where,
                hint="run in the folder that holds it, or install it" if missing else "import it by itself first",
            ) from error
        for part in attribute.split("."):
            if not hasattr(found, part):
                raise UsageError(f"{module} has no {attribute}", where=where, hint=_FORMS)
            found = getattr(found, part)
        if not _makes_a_model(found):
            return found
        try:
            return found()
        except Exception as error:
            raise UsageError(
                f"{attribute} could not make the model: {type(error).__name__}: {error}",
                where=where,
                hint="call it by itself first",
            ) from error


def _makes_a_model(found: Any) -> bool:
    """Whether this is a class or function to be called without arguments, rather than a model itself."""
    if not isinstance(found, type) and (hasattr(found, "predict") or hasattr(found, "answer")):
        return False
    if not callable(found):
        return False
    try:
        parameters = inspect.signature(found).parameters.values()
    except (TypeError, ValueError):
        return False
    free = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    if isinstance(found, type):
        return True
    return not any(one.default is one.empty and one.kind not in free for one in parameters) and not any(
        one.kind is inspect.Parameter.VAR_POSITIONAL for one in parameters
    )


@contextmanager
def _current_folder_last() -> Iterator[None]:
    """Modules of the current folder can be imported inside the block; they never hide one that is installed."""
    here = str(Path.cwd())
    if here in sys.path:
        yield
        return
    sys.path.append(here)
    try:
        yield
    finally:
        sys.path.remove(here)


def _own_spec(model: Any) -> Spec | None:
    if isinstance(model, TrainedModel) and not model.architecture.linear_inputs:
        shape = getattr(model.architecture, "shape", None)
        return InputSpec(shape=shape) if shape else None
    return TextSpec() if isinstance(model, TextModel) else None


def _probes(spec: Spec | None, examples: Inputs | None) -> Inputs | None:
    """A few inputs to learn the form of answers from: given ones, or some drawn within the bounds."""
    if examples is not None:
        return examples[:_PROBES]
    match spec:
        case InputSpec():
            rows = Seeds(0).numpy("opening.probes").random((_PROBES, *spec.shape), dtype=np.float32)
            drawn = (spec.low + rows * (spec.high - spec.low)).astype(np.float32)
            return spec.repair(drawn, drawn) if spec.groups or np.asarray(spec.steps).any() else drawn
        case TextSpec():
            return np.array(["a short text", "another one", "yes", "no, not at all"], dtype=object)
        case _:
            return None


def _told(make: Callable[[], _Made], where: str) -> _Made:
    """What `make` gives; what it objects to becomes a message for the person who named the model."""
    try:
        return make()
    except (ValueError, TypeError) as error:
        raise UsageError(str(error), where=where, hint="state what the model takes and answers") from error
