"""What mechanisms cost: events, their composition, and the noise for a wanted epsilon."""

from __future__ import annotations

from wardline.dp.accounting.pld import DpEvent, calibrate_noise, compose, delta_spent, epsilon_spent

__all__ = ["DpEvent", "calibrate_noise", "compose", "delta_spent", "epsilon_spent"]
