"""What a sweep shows: a page with its chart, and a policy to go on with."""

from __future__ import annotations

from pathlib import Path

from wardline.core import WorkspaceError, write_atomic
from wardline.core.drawing.page import Section, render_page
from wardline.core.drawing.svg import Scale, around
from wardline.core.drawing.xy import Axis, Line, Point, draw_xy
from wardline.plan import Plan
from wardline.policy import LoadedPolicy
from wardline.policy.rewrite import with_training
from wardline.run.sweep import Swept

MARK = "Written by `wardline sweep`."
"""The first line of a policy that a sweep wrote; only such a file is overwritten by the next one."""

LIMITS = (
    "The epsilon holds for the training that the policy asks for, not for the sweep. A floor that is met on these rows "
    "need not be met on others: different rows, and a different number of them, change the accuracy."
)


def refuse_foreign(path: Path) -> None:
    """Refuse to write where a file stands that no sweep wrote. Asked before anything is trained or charged.

    Raises:
        WorkspaceError: naming the file.
    """
    if path.exists() and not path.read_text("utf-8", errors="replace").startswith(f"# {MARK}"):
        raise WorkspaceError(
            "this file exists, and no sweep wrote it", where=str(path), hint="choose another name with --write"
        )


def write_policy(loaded: LoadedPolicy, plan: Plan, *, path: Path, found: str) -> None:
    """Write the policy with the settings of a plan spelled out.

    Args:
        loaded: the policy that was swept.
        plan: the training on the protected rows.
        path: the file; an existing one is overwritten only if a sweep wrote it.
        found: what the sweep found, for the comment on top.

    Raises:
        WorkspaceError: if the file is there and somebody else wrote it, or it cannot be written.
    """
    refuse_foreign(path)
    training = plan.training
    settings = {
        "epsilon": training.epsilon,
        "delta": training.delta,
        "batch": max(1, round(training.sample_rate * plan.facts.train_units)),
        "epochs": float(f"{training.steps * training.sample_rate:.6g}"),
        "clip_norm": training.clip_norm,
        "learning_rate": float(f"{training.learning_rate:.6g}"),
    }
    write_atomic(path, with_training(loaded, settings, note=f"{MARK}\n{found}").encode())


def render_sweep(project: str, swept: Swept) -> bytes:
    """The page of a sweep over public rows: the chart, its figures, and what it does not say."""
    tried = sorted(swept.tried, key=lambda one: one.epsilon)
    points = tuple(Point(x=one.epsilon, y=one.accuracy, low=one.interval.low, high=one.interval.high) for one in tried)
    reached = [value for one in tried for value in (one.interval.low, one.interval.high)]
    up = around((*reached, swept.floor.value), low=0.0, high=1.0)
    low, high = tried[0].epsilon, tried[-1].epsilon
    across = Scale(low=low / 1.3, high=high * 1.3, log=True)
    rise = Scale(low=up.low, high=up.high)
    found = told(swept)
    picture = draw_xy(
        "sweep",
        [Line(label="accuracy", look="released", points=points)],
        title="Accuracy over epsilon",
        summary=found,
        across=Axis(name="epsilon (smaller protects more)", scale=across, ticks=tuple(one.epsilon for one in tried)),
        up=Axis(name="accuracy", scale=rise, write="{:.3g}".format),
        limit=(swept.floor.value, f"floor {swept.floor.value:g}"),
    )
    repeats = len(tried[0].accuracies)
    section = Section(
        title="Accuracy over epsilon",
        text=(
            f"Mean of {repeats} trainings on {swept.rows:,} public rows each, with its 95 % interval over splits, "
            "initial weights and noise.",
        ),
        picture=picture,
        legend=(("released", "accuracy on held-out rows"),),
        columns=("epsilon", "accuracy", "from", "to", "floor met"),
        rows=tuple(
            (
                f"{one.epsilon:g}",
                f"{one.accuracy:.4f}",
                f"{one.interval.low:.4f}",
                f"{one.interval.high:.4f}",
                "yes" if one.meets else "no",
            )
            for one in tried
        ),
    )
    return render_page(f"Sweep: {project}", [section], lede=found, footer=LIMITS)


def told(swept: Swept) -> str:
    """What a sweep over public rows found, in a sentence."""
    floor = f"{swept.floor.metric} {swept.floor.value:g}"
    if swept.epsilon is None:
        most = max(swept.tried, key=lambda one: one.epsilon)
        return (
            f"No epsilon up to {most.epsilon:g} is sure to reach {floor}; at {most.epsilon:g} the accuracy is "
            f"{most.accuracy:.4f}, between {most.interval.low:.4f} and {most.interval.high:.4f}."
        )
    one = next(one for one in swept.tried if one.epsilon == swept.epsilon)
    return (
        f"The lowest epsilon that reaches {floor} is {one.epsilon:g}: {one.accuracy:.4f}, between "
        f"{one.interval.low:.4f} and {one.interval.high:.4f}."
    )
