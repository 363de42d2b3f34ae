"""Room `run`: the stages of a run and the folder they work in. Start reading at `stages.py`."""

from wardline.run.stages import RunOptions, RunOutcome, plan_run, run

__all__ = ["RunOptions", "RunOutcome", "plan_run", "run"]
