import pytest

from wardline.robust.training.record import Look


@pytest.mark.parametrize(
    ("one_step", "robust", "collapsed"),
    [
        (80, 0, True),
        (80, 39, True),
        (80, 40, False),  # half of those that withstand one step
        (20, 0, False),  # a fifth of all, which chance may do among few rows
        (21, 0, True),
        (50, 45, False),
        (0, 0, False),
    ],
)
def test_catastrophic_overfitting_is_a_gap_between_one_step_and_several(one_step, robust, collapsed):
    look = Look(epoch=1.0, loss=1.0, clean=90, one_step=one_step, robust=robust, rows=100)
    assert look.collapsed() is collapsed
