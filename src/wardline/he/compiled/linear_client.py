"""Linear models at the client, under the names that all kinds have."""

from __future__ import annotations

from wardline.he.linear.rows import decrypt_scores as decrypt_outputs
from wardline.he.linear.rows import encrypt_rows
from wardline.he.linear.rows import unsafe_raw_scores as unsafe_raw_outputs

__all__ = ["decrypt_outputs", "encrypt_rows", "unsafe_raw_outputs"]
