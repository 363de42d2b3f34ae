import numpy as np
import pyarrow as pa
import pytest

from wardline.data import Column, Contract
from wardline.dp.synthetic import Quality, charged_quality, comparison, quality, quality_event
from wardline.dp.synthetic.comparison import cramers_v

CONTRACT = Contract(
    columns=(
        Column(name="age", kind="integer", low=0, high=99),
        Column(name="ward", kind="category", values=("north", "south")),
        Column(name="sick", kind="boolean"),
    ),
    target="sick",
)


def people(rows, seed, *, shuffled=False):
    rng = np.random.default_rng(seed)
    age = rng.integers(0, 100, rows)
    sick = age / 100 + rng.normal(0, 0.1, rows) > 0.5
    ward = np.where(rng.random(rows) < 0.3 + 0.4 * sick, "north", "south")
    if shuffled:
        rng.shuffle(sick)
    return pa.table({"age": age, "ward": ward, "sick": sick})


def test_other_rows_of_the_same_kind_are_near_and_shuffled_ones_are_not():
    test, good, bad = people(2000, 1), people(2000, 2), people(2000, 3, shuffled=True)
    found = {
        name: quality(table, CONTRACT, held_out=test, real=good, basis="public")
        for name, table in (("good", good), ("bad", bad))
    }
    assert found["good"].value("tv_pairs") < 0.1
    assert found["bad"].value("tv_pairs") > 1.3 * found["good"].value("tv_pairs")
    assert found["good"].value("association_gap") < 0.05 < 0.2 < found["bad"].value("association_gap")
    assert found["good"].value("accuracy") > 0.85
    assert found["bad"].value("accuracy") < 0.7
    assert found["bad"].value("accuracy_gap") > 0.2
    assert found["good"].value("accuracy_gap") == pytest.approx(0, abs=1e-12)
    for one in found["bad"].measurements:
        assert one.interval is not None
        assert one.interval.low <= one.value <= one.interval.high
        assert one.trials == 2000


def test_what_was_computed_without_noise_says_that_it_must_not_be_published():
    table = people(200, 1)
    assert "do not publish" in quality(table, CONTRACT, held_out=people(200, 2), basis="holder").note
    assert "may be published" in str(quality(table, CONTRACT, held_out=people(200, 2), basis="public"))
    with pytest.raises(ValueError, match="charged_quality"):
        quality(table, CONTRACT, held_out=people(200, 2), basis="charged")


def test_one_class_alone_can_be_classified():
    # A synthesis at a tiny epsilon may well draw such a table; the comparison must not stumble.
    table, test = people(100, 1).set_column(2, "sick", pa.array(np.zeros(100, dtype=bool))), people(300, 2)
    found = quality(table, CONTRACT, held_out=test, basis="public")
    assert found.value("accuracy") == pytest.approx(1 - np.mean(test["sick"]))
    assert 0 <= charged_quality(table, CONTRACT, held_out=test, epsilon=5.0).value("accuracy") <= 1


def test_json_and_back():
    found = quality(people(150, 1), CONTRACT, held_out=people(150, 2), basis="public")
    assert Quality.from_json(found.to_json()).to_json() == found.to_json()


@pytest.mark.parametrize(
    ("counts", "expected"),
    [([[50, 0], [0, 50]], 1.0), ([[25, 25], [25, 25]], 0.0), ([[7, 9, 2]], 0.0), ([[0, 0], [5, 5]], 0.0)],
)
def test_strength_of_association(counts, expected):
    assert cramers_v(np.array(counts)) == pytest.approx(expected, abs=1e-9)


# --- under noise -------------------------------------------------------------------------------------------


def test_noisy_figures_are_near_the_true_ones():
    test, made = people(3000, 1), people(3000, 2)
    true = quality(made, CONTRACT, held_out=test, basis="holder")
    noisy = charged_quality(made, CONTRACT, held_out=test, epsilon=4.0)
    assert noisy.basis == "charged"
    for quantity in ("tv_single", "tv_pairs", "accuracy"):
        assert noisy.value(quantity) == pytest.approx(true.value(quantity), abs=0.02)
    for one in noisy.measurements:
        assert one.interval.low <= one.value <= one.interval.high
    assert quality_event(0.5).epsilon == 0.5


def test_a_held_out_unit_moves_each_sum_no_further_than_its_noise_covers(monkeypatch):
    """Scales are l1 / (epsilon / 4): with the noise taken away, neighbouring tables show the largest movement."""
    drawn = []
    monkeypatch.setattr(
        "wardline.dp.synthetic.charged.discrete_laplace",
        lambda count, *, scale, random: drawn.append(scale) or np.zeros(count, dtype=np.int64),
    )
    figures = []
    monkeypatch.setattr(
        "wardline.dp.synthetic.charged._figure",
        lambda quantity, above, *rest: (
            figures.append((quantity, above))
            or comparison._gap(np.array([True, False]), np.array([True, True]), level=0.9)
        ),
    )
    test, made = people(300, 1), people(300, 2)
    charged_quality(made, CONTRACT, held_out=test, epsilon=1.0)
    scales, whole = list(drawn), dict(figures)
    assert scales == [4.0, 4.0 * 3 * 1024, 4.0 * 3 * 1024, 4.0]
    for row in range(0, 300, 60):
        drawn.clear(), figures.clear()
        without = pa.concat_tables([test.slice(0, row), test.slice(row + 1)])
        # The number of rows is drawn first and the same noisy number enters what follows.
        monkeypatch.setattr(
            "wardline.dp.synthetic.charged.discrete_laplace",
            lambda count, *, scale, random: (
                drawn.append(scale) or np.full(count, 1 if len(drawn) == 1 else 0, dtype=np.int64)
            ),
        )
        charged_quality(made, CONTRACT, held_out=without, epsilon=1.0)
        for quantity, above in figures:
            # A mean of 3 total variations, each halved: one row moves its sum by at most 1 / 2; a count, by 1.
            assert abs(above - whole[quantity]) <= (1.0 if quantity == "accuracy" else 0.5) + 1e-9


def test_too_few_rows_for_the_noise_are_refused():
    with pytest.raises(ValueError, match="noise"):
        charged_quality(people(50, 1), CONTRACT, held_out=people(20, 2), epsilon=0.01)
    with pytest.raises(ValueError):
        charged_quality(people(50, 1), CONTRACT, held_out=people(20, 2), epsilon=0.0)
