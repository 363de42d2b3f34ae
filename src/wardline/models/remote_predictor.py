"""A model behind an address: KServe V2 (Open Inference Protocol) or plain JSON over HTTP."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from wardline.core import ServiceError, UsageError
from wardline.models.answers import AnswerForm, detect
from wardline.models.predictor import Gives, Inputs
from wardline.models.remote_exchange import Exchange, RemoteSettings, RemoteStatistics, TooLarge, Unanswered

_PATIENCE = RemoteSettings()
_V2 = re.compile(r"(?P<model>.*/v2/models/[^/]+(/versions/[^/]+)?)(/infer)?/?")
_REQUEST_KEYS = ("instances", "inputs")
_ANSWER_KEYS: Mapping[str, Gives | None] = {
    "probabilities": "probabilities",
    "logits": "logits",
    "scores": None,
    "predictions": None,
    "outputs": None,
    "labels": "labels",
}
_PROBES = 8
_NO_END = 1 << 30
_MAX_INPUT = 1 << 24  # numbers of one input; what claims to be larger is not believed


class _Dialect(Protocol):
    """How inputs are put into a request, and answers are found in what comes back."""

    path: str
    gives: Gives | None  # what the answers' name says that they are
    most: int  # inputs a request

    def request(self, x: Inputs) -> Any:
        """The body that asks about these inputs."""

    def answers(self, body: Any, rows: int) -> Any:
        """The raw answers; whatever the body looks like, nothing worse than a `ValueError`."""


class RemotePredictor:
    """A model that answers over HTTP; `connect` makes it.

    Inputs that stay unanswered, after the retries that the settings allow, get NaN or the label -1: whoever asks must
    count them neither as right nor as withstood. When several requests in a row stay unanswered, the service counts
    as gone.

    Args:
        exchange: the connection.
        dialect: how the service is spoken to.
        form: what it answers.
        settings: how much patience there is.
        shape: of one input, where the service told it.
    """

    def __init__(
        self,
        exchange: Exchange,
        *,
        dialect: _Dialect,
        form: AnswerForm,
        settings: RemoteSettings = _PATIENCE,
        shape: tuple[int, ...] = (),
    ) -> None:
        self._exchange, self._dialect, self._form, self._settings = exchange, dialect, form, settings
        self.shape = shape
        self._silent = 0

    @classmethod
    def connect(
        cls,
        url: str,
        *,
        probes: Inputs | None = None,
        classes: int | None = None,
        gives: Gives | None = None,
        token_env: str = "",
        settings: RemoteSettings = _PATIENCE,
        sleep: Callable[[float], None] = time.sleep,
    ) -> RemotePredictor:
        """Learn how a service is spoken to, and what it answers, from its metadata and a few inputs.

        Args:
            url: ``.../v2/models/NAME`` for KServe V2, anything else for plain JSON: a POST of
                ``{"instances": [...]}`` or ``{"inputs": [...]}``.
            probes: inputs to ask about, [rows, ...], at most eight are used; needed unless metadata tells their shape.
            classes: how many classes there are; needed where the service answers with labels.
            gives: what it answers, where that is known.
            token_env: the environment variable that holds a bearer token; empty for none.
            settings: how much patience there is.
            sleep: waits for so many seconds.

        Raises:
            UsageError: for an address or token that cannot be used, or if inputs or classes must be stated.
            ServiceError: if the service does not answer, or not in a form that is understood.
        """
        exchange = Exchange(url, token_env=token_env, settings=settings, sleep=sleep)
        v2 = _V2.fullmatch(exchange.path)
        shape: tuple[int, ...] = ()
        try:
            if v2 is not None:
                kserve = _KServe(exchange, v2["model"])
                dialects: list[_Dialect] = [kserve]
                shape = kserve.shape
            else:
                dialects = [_Plain(exchange.path, key) for key in _REQUEST_KEYS]
            if probes is None and shape:
                probes = np.full((1, *shape), 0.5, dtype=np.float32)
            if probes is None:
                raise UsageError(
                    "nothing says what inputs the service takes", where=exchange.place, hint="give examples or a spec"
                )
            dialect, raw = _first_that_works(exchange, dialects, probes[:_PROBES], settings)
        except Unanswered as error:
            raise ServiceError(
                f"the service does not answer: {error}", where=exchange.place, hint="check that it runs and is ready"
            ) from None
        try:
            form = detect(raw, classes=classes, gives=gives or dialect.gives)
        except ValueError as error:
            raise UsageError(str(error), where=exchange.place, hint="state the classes and what is answered") from None
        return cls(exchange, dialect=dialect, form=form, settings=settings, shape=shape)

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return self._form.classes

    @property
    def gives(self) -> Gives:
        """What was stated or detected."""
        return self._form.gives

    @property
    def place(self) -> str:
        """The address, without query or credentials."""
        return self._exchange.place

    @property
    def statistics(self) -> RemoteStatistics:
        """What the service did so far."""
        return self._exchange.statistics

    def answer(self, x: Inputs) -> npt.NDArray[Any]:
        """Its answers; NaN or -1 for inputs that stayed unanswered.

        Raises:
            ServiceError: if it refuses such requests for good, or has been silent for too many in a row.
        """
        batch = min(self._settings.batch, self._dialect.most)
        found = [self._some(x[start : start + batch]) for start in range(0, len(x), batch)]
        return np.concatenate(found) if found else self._form.silence(0)

    def close(self) -> None:
        """Close the connection."""
        self._exchange.close()

    def _some(self, rows: Inputs) -> npt.NDArray[Any]:
        try:
            body = self._exchange.post(self._dialect.path, self._dialect.request(rows))
        except TooLarge:
            if len(rows) == 1:
                raise _one_is_too_large(self.place) from None
            half = len(rows) // 2
            return np.concatenate([self._some(rows[:half]), self._some(rows[half:])])
        except Unanswered as silence:
            return self._unanswered(len(rows), str(silence))
        try:
            answers = self._form.read(self._dialect.answers(body, len(rows)), len(rows))
        except ValueError as error:
            self._exchange.count(nonsense=1)
            return self._unanswered(len(rows), str(error))
        self._silent = 0
        return answers

    def _unanswered(self, rows: int, reason: str) -> npt.NDArray[Any]:
        self._exchange.count(unanswered=rows)
        self._silent += 1
        if self._silent >= self._settings.patience:
            raise ServiceError(
                f"{self._silent} requests in a row stayed unanswered, the last because {reason} ({self.statistics})",
                where=self.place,
                hint="check that the service runs, ask for a higher rate limit, or set a lower query cap",
            )
        return self._form.silence(rows)


def _first_that_works(
    exchange: Exchange, dialects: list[_Dialect], probes: Inputs, settings: RemoteSettings
) -> tuple[_Dialect, Any]:
    """The first way of asking that the service does not refuse, and its raw answers."""
    refusal: ServiceError | None = None
    for dialect in dialects:
        rows = probes[: min(settings.batch, dialect.most)]
        try:
            try:
                body = exchange.post(dialect.path, dialect.request(rows))
            except TooLarge:
                rows = rows[:1]
                body = exchange.post(dialect.path, dialect.request(rows))
            return dialect, dialect.answers(body, len(rows))
        except ServiceError as error:
            refusal = refusal or error
        except TooLarge:
            raise _one_is_too_large(exchange.place) from None
        except ValueError as error:
            raise ServiceError(
                f"the service's answer is not understood: {error}",
                where=exchange.place,
                hint="write a function that asks it and answers with numbers, and name it as package.module:function",
            ) from None
    assert refusal is not None
    raise refusal


def _one_is_too_large(place: str) -> ServiceError:
    return ServiceError("the service answers 413: one input is too large", where=place, hint="check the shape")


class _Plain:
    """``{"instances": [...]}`` or ``{"inputs": [...]}`` out, a list or an object that holds one back."""

    def __init__(self, path: str, key: str) -> None:
        self.path, self._key = path, key
        self.gives: Gives | None = None
        self.most = _NO_END

    def request(self, x: Inputs) -> Any:
        return {self._key: x.tolist()}

    def answers(self, body: Any, rows: int) -> Any:
        found = body
        if isinstance(body, dict):
            key = next((one for one in _ANSWER_KEYS if one in body), None)
            if key is None:
                raise ValueError(f"it holds none of {', '.join(_ANSWER_KEYS)}")
            self.gives, found = _ANSWER_KEYS[key], body[key]
        if not isinstance(found, list) or len(found) != rows:
            raise ValueError(f"it is no list of answers to {rows} inputs")
        return found


class _KServe:
    """KServe V2, with tensors as JSON: https://github.com/kserve/open-inference-protocol."""

    def __init__(self, exchange: Exchange, model: str) -> None:
        self.path = f"{model}/infer"
        self.gives: Gives | None = None
        self.shape: tuple[int, ...] = ()
        self.most = _NO_END
        self._name, self._type, self._output = "input-0", "FP32", ""
        try:
            metadata = exchange.get(model)
        except (ServiceError, Unanswered, TooLarge):
            return  # metadata are a courtesy; if the model is not there, asking it will tell
        if isinstance(metadata, dict):
            self._read(metadata, exchange.place)

    def request(self, x: Inputs) -> Any:
        shape = [len(x), *(x.shape[1:] or (1,))]
        data = x.ravel()
        if self._type.startswith(("INT", "UINT")) and x.dtype != object:
            if (data != np.floor(data)).any():
                raise UsageError("the service takes whole numbers", hint="give a spec with steps of 1")
            data = data.astype(np.int64)
        kind = "BYTES" if x.dtype == object else self._type
        return {"inputs": [{"name": self._name, "shape": shape, "datatype": kind, "data": data.tolist()}]}

    def answers(self, body: Any, rows: int) -> Any:
        outputs = body.get("outputs") if isinstance(body, dict) else None
        if not isinstance(outputs, list) or not all(isinstance(one, dict) for one in outputs) or not outputs:
            raise ValueError("it holds no outputs")
        found = next((one for one in outputs if one.get("name") == self._output), outputs[0])
        shape, data = found.get("shape"), found.get("data")
        if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
            raise ValueError("its output has no shape")
        if not isinstance(data, list) or not shape or shape[0] != rows:
            raise ValueError(f"its output is no tensor of {rows} rows")
        values = _flat(data)
        if len(values) != math.prod(shape):
            raise ValueError(f"its output holds {len(values)} numbers, its shape says {math.prod(shape)}")
        return np.asarray(values, dtype=np.float64).reshape(rows, -1) if values else []

    def _read(self, metadata: Mapping[str, Any], place: str) -> None:
        inputs, outputs = (_tensors(metadata.get(key)) for key in ("inputs", "outputs"))
        if len(inputs) > 1:
            raise ServiceError(
                f"the service takes {len(inputs)} tensors at once",
                where=place,
                hint="write a function that asks it, and name it as package.module:function",
            )
        if inputs:
            self._name, self._type, shape = inputs[0]
            if shape and shape[0] == 1:
                self.most = 1
            if len(shape) > 1 and min(shape[1:]) > 0 and math.prod(shape[1:]) <= _MAX_INPUT:
                self.shape = tuple(shape[1:])
        # Scores tell more than labels: of several outputs the first one with a number for each class.
        wide = [name for name, kind, shape in outputs if kind.startswith("FP") and len(shape) > 1 and shape[-1] != 1]
        self._output = wide[0] if wide else (outputs[0][0] if outputs else "")


def _tensors(value: Any) -> list[tuple[str, str, list[int]]]:
    """Name, type and shape of each tensor that metadata describe; what is described otherwise is left out."""
    known = []
    for one in value if isinstance(value, list) else []:
        if isinstance(one, dict) and isinstance(one.get("name"), str) and isinstance(one.get("datatype"), str):
            shape = one.get("shape")
            sizes = shape if isinstance(shape, list) and all(type(size) is int for size in shape) else []
            known.append((one["name"], one["datatype"], sizes))
    return known


def _flat(data: list[Any]) -> list[Any]:
    """The numbers of nested lists, in order."""
    while data and isinstance(data[0], list):
        if not all(isinstance(part, list) for part in data):
            raise ValueError("its output mixes numbers and lists")
        data = [value for part in data for value in part]
    try:
        return [math.nan if value is None else float(value) for value in data]
    except (TypeError, ValueError, OverflowError):
        raise ValueError("its output holds something that is no number") from None
