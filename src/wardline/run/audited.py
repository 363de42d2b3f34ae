"""What `wardline audit` and `wardline attack` work on: a model and examples, opened from what a person named."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from wardline.attacks.membership.shadow import ReferenceRecipe
from wardline.attacks.protocol.attack import AttackEntry
from wardline.attacks.protocol.derived_spec import spec_from_examples
from wardline.attacks.protocol.examples import Labelled
from wardline.attacks.protocol.opening import open_target
from wardline.attacks.protocol.spec import InputSpec, Spec
from wardline.attacks.protocol.target import Access, Target
from wardline.core import DataError, Progress, UsageError, WorkspaceError
from wardline.crypto import SigningKey
from wardline.dp import default_plain_config
from wardline.evidence import render_audit, unsafe_write_unsigned_bundle, write_bundle
from wardline.evidence.statement import BUNDLE_NAME, UNSIGNED_NAME
from wardline.models import ResNet, SavedModel, TrainedModel, columns, open_saved
from wardline.robust.ball import Ball, Norm
from wardline.run.audit_data import AuditData, read_examples, read_policy_examples
from wardline.run.audit_families import data_for
from wardline.run.audit_settings import Audited, default_radius

_ACCESS = {"labels": Access.LABELS, "scores": Access.SCORES, "white-box": Access.WHITE_BOX}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What a person said about the model and the examples; see the options of `wardline audit`."""

    data: Path | None = None
    train: Path | None = None
    label: str | None = None
    text: str | None = None
    policy: Path | None = None
    access: str | None = None
    classes: int | None = None
    low: float | None = None
    high: float | None = None
    token_env: str | None = None
    cap: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A model and the examples to attack it with.

    Attributes:
        target: the model, as the adversary sees it.
        data: the examples, in the form that the model reads.
        about: what stands in the evidence about the model.
    """

    target: Target
    data: AuditData = field(repr=False)
    about: Audited

    def examples(self, *, most: int) -> Labelled:
        """The first so many held-out examples."""
        held_out = self.data.held_out
        return Labelled(x=held_out.x[:most], y=held_out.y[:most])

    def data_for(self, entry: AttackEntry, *, most: int) -> Any:
        """What an attack of this kind takes.

        Raises:
            UsageError: if it takes something that a command line cannot give.
        """
        of_training = entry.family == "membership" or entry.id == "reconstruction.attribute"
        known = entry.data.endswith(":Labelled") or entry.family == "extraction"
        if known or (of_training and self.data.train is not None):
            try:
                return data_for(entry, self.examples(most=most), self.data, self.target)
            except ValueError as error:
                raise UsageError(f"{entry.id} cannot be tried: {error}", hint="give other or more rows") from error
        if of_training:
            raise UsageError(
                f"{entry.id} needs rows that the model was trained on",
                hint="add --train FILE, or the --policy of its run",
            )
        raise UsageError(
            f"{entry.id} takes more than a model and examples ({entry.data.partition(':')[2]})",
            hint="call it from Python; `docs/howto` shows how",
        )


def open_audited(where: str, chosen: Chosen, *, progress: Progress) -> Opened:
    """Open a model, read examples, and bring the two together.

    Args:
        where: the model: a folder, an import path, or an address.
        chosen: what else is known.
        progress: told about downloads of a policy's data.

    Raises:
        WardlineError: of the kind that tells what to do, for anything that is missing or does not fit.
    """
    saved = open_saved(Path(where)) if Path(where).exists() else None
    model = saved[0] if saved is not None and isinstance(saved[0], TrainedModel) else None
    data = _fitted(_read(chosen, None if saved is None else saved[0], progress), model)
    if model is not None and data.train is not None and not isinstance(model.architecture, ResNet):
        training = default_plain_config(n_rows=len(data.train), architecture=model.architecture)
        data = dataclasses.replace(data, recipe=ReferenceRecipe(architecture=model.architecture, training=training))
    spec = _spec(data, chosen)
    target = open_target(
        where,
        spec=spec,
        examples=data.held_out.x,
        classes=chosen.classes,
        access=None if chosen.access is None else _ACCESS[chosen.access],
        cap=chosen.cap,
        token_env=chosen.token_env or "",
    )
    try:
        target.spec.check(data.held_out.x)
    except ValueError as error:
        raise DataError(
            f"the examples are not what the model takes: {error}",
            where=data.source,
            hint="give examples as the model reads them, or state --low and --high",
        ) from error
    if saved is not None:
        about = Audited(where=where, kind=f"a model of wardline: {saved[0]!r}", sha256=saved[1])
        target.name = Path(where).resolve().name
    elif where.lower().startswith(("http://", "https://")):
        about = Audited(where=target.name, kind="a service")
    else:
        about = Audited(where=where, kind="an import path" if ":" in where else "a file")
    target.name = _plain_name(target.name)
    return Opened(target=target, data=data, about=about)


def ball_for(spec: Spec, norm: Norm, radius: float | None) -> Ball | None:
    """What the adversary may change; None where inputs are no numbers.

    Raises:
        UsageError: for a radius that is no finite number of at least 0.
    """
    if not isinstance(spec, InputSpec):
        return None
    try:
        return Ball(norm=norm, radius=default_radius(spec, norm) if radius is None else radius)
    except ValueError as error:
        raise UsageError(str(error), where="--radius") from error


def check_place(folder: Path) -> None:
    """Refuse a folder that evidence could not be written to, before an hour is spent on it.

    Raises:
        WorkspaceError: if something else than evidence stands there.
    """
    standing = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    if (folder.exists() and not folder.is_dir()) or (standing and not standing & {BUNDLE_NAME, UNSIGNED_NAME}):
        raise WorkspaceError(
            "something else stands where the evidence should go", where=str(folder), hint="choose another --out"
        )


def write_audit(folder: Path, predicate: Mapping[str, Any], *, key: SigningKey | None) -> Path:
    """Render the report and write the bundle, signed with `key`; unsigned if that is None.

    Returns:
        The path of the signed (or unsigned) statement inside the folder.

    Raises:
        WorkspaceError: if it cannot be written; nothing half-written stays.
    """
    files: dict[str, bytes | Path] = {"report.html": render_audit(predicate)}
    if key is None:
        return unsafe_write_unsigned_bundle(folder, predicate=predicate, files=files, replace=True)
    return write_bundle(folder, predicate=predicate, files=files, key=key, replace=True)


def _read(chosen: Chosen, model: SavedModel | None, progress: Progress) -> AuditData:
    if chosen.policy is not None:
        return read_policy_examples(chosen.policy, local_copy=chosen.data, progress=progress)
    if chosen.data is None:
        raise UsageError(
            "an attack needs examples with their true classes",
            hint="add --data FILE (NPZ with x and y, Parquet or CSV with --label), or --policy FILE",
        )
    classes = () if model is None else model.classes
    data = read_examples(chosen.data, label=chosen.label, text=chosen.text, classes=classes)
    if chosen.train is None:
        return data
    known = read_examples(chosen.train, label=chosen.label, text=chosen.text, classes=classes)
    if known.held_out.x.shape[1:] != data.held_out.x.shape[1:] or known.features != data.features:
        raise DataError("these rows have another form than those of --data", where=str(chosen.train))
    return dataclasses.replace(data, train=known.held_out)


def _fitted(data: AuditData, model: TrainedModel | None) -> AuditData:
    """The examples in the form in which a model of ours reads them: its columns, its shape."""
    if model is None or data.held_out.x.dtype == object:
        return data
    x = data.held_out.x
    if data.features and set(model.features) < set(data.features):
        order = [data.features.index(name) for name in model.features]
        held_out, train = (_ordered(side, order) for side in (data.held_out, data.train))
        return dataclasses.replace(data, held_out=held_out, train=train, features=model.features)
    shape: tuple[int, ...] | None = getattr(model.architecture, "shape", None)
    wanted = shape if shape is not None and not model.architecture.linear_inputs else (columns(model.architecture),)
    if int(np.prod(x.shape[1:])) != int(np.prod(wanted)):
        raise DataError(
            f"the model reads {int(np.prod(wanted))} numbers an input, the examples have {int(np.prod(x.shape[1:]))}",
            where=data.source,
            hint="give the examples that this model was made for",
        )
    return dataclasses.replace(data, held_out=_shaped(data.held_out, wanted), train=_shaped(data.train, wanted))


def _ordered(examples: Any, order: list[int]) -> Any:
    return None if examples is None else Labelled(x=np.ascontiguousarray(examples.x[:, order]), y=examples.y)


def _shaped(examples: Any, shape: tuple[int, ...]) -> Any:
    if examples is None:
        return None
    return Labelled(x=examples.x.reshape(len(examples), *shape), y=examples.y)


def _spec(data: AuditData, chosen: Chosen) -> Spec:
    spec = data.spec
    if spec is not None and spec.shape != data.held_out.x.shape[1:]:
        spec = InputSpec(
            shape=data.held_out.x.shape[1:],
            low=np.asarray(spec.low).reshape(data.held_out.x.shape[1:]),
            high=np.asarray(spec.high).reshape(data.held_out.x.shape[1:]),
        )
    # Rows that were trained on are inputs as well: attacks on them must not find them out of bounds.
    x = data.held_out.x if data.train is None else np.concatenate([data.held_out.x, data.train.x])
    derived = spec or spec_from_examples(x, names=data.features)
    stated = {name: value for name in ("low", "high") if (value := getattr(chosen, name)) is not None}
    if not stated or not isinstance(derived, InputSpec):
        return derived
    try:
        return dataclasses.replace(derived, **stated)
    except ValueError as error:
        raise UsageError(str(error), where="--low, --high") from error


def _plain_name(name: str) -> str:
    """A name that can be a folder's: what stands in for everything else is a hyphen."""
    plain = "".join(letter if letter.isalnum() or letter in "._" else "-" for letter in name).strip("-.")
    return plain[-80:] or "model"
