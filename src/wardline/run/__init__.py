"""Room `run`: see docs/design.md."""
