"""Room `core`: the values that every other room speaks in. It leans on NumPy and nothing heavier."""

from wardline.core.canonical import canonical_json, digest_bytes, digest_file, digest_value, to_json
from wardline.core.claims import Claim, Control, Interval, Measurement
from wardline.core.errors import (
    BudgetError,
    ConflictError,
    DataError,
    IntegrityError,
    KeyAccessError,
    MissingExtraError,
    PolicyError,
    ServiceError,
    UsageError,
    WardlineError,
    WorkspaceError,
)
from wardline.core.extras import need
from wardline.core.files import make_folder, write_atomic
from wardline.core.labels import Labels, check_compatible
from wardline.core.progress import JsonLinesProgress, NoProgress, Progress
from wardline.core.rng import SecureRandom, Seeds
from wardline.core.verdict import Verdict, combine

__all__ = [
    "BudgetError",
    "Claim",
    "ConflictError",
    "Control",
    "DataError",
    "IntegrityError",
    "Interval",
    "JsonLinesProgress",
    "KeyAccessError",
    "Labels",
    "Measurement",
    "MissingExtraError",
    "NoProgress",
    "PolicyError",
    "Progress",
    "SecureRandom",
    "Seeds",
    "ServiceError",
    "UsageError",
    "Verdict",
    "WardlineError",
    "WorkspaceError",
    "canonical_json",
    "check_compatible",
    "combine",
    "digest_bytes",
    "digest_file",
    "digest_value",
    "make_folder",
    "need",
    "to_json",
    "write_atomic",
]
