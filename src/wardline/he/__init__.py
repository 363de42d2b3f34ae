"""Room `he`: scores of encrypted data. The client encrypts and decrypts with SEAL, the server computes on ciphertexts.

Names are loaded when first used, so that a server does not load SEAL, and a client no machine learning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wardline.core.lazy import lazy

if TYPE_CHECKING:
    from wardline.he.ciphertext import Ciphertext, EvaluationKeys, SeededColumns, SeededKeys
    from wardline.he.compiled.compiling import Compiled, Fidelity, compile_linear, simulate
    from wardline.he.compiled.evaluator import Evaluator, LinearEvaluator
    from wardline.he.compiled.folder import read_model, read_public, write_model
    from wardline.he.compiled.public_model import PublicModel
    from wardline.he.compiler.preparation import Prepared, prepare
    from wardline.he.compiler.program import Meaning, Program
    from wardline.he.linear.evaluation import scores
    from wardline.he.linear.plan import LinearPlan, LinearWeights, plan_linear
    from wardline.he.linear.rows import decrypt_scores, encrypt_rows
    from wardline.he.parameters import Parameters, find_primes
    from wardline.he.seal.bridge import SealLattice
    from wardline.he.seal.keyfile import read_secret_key, write_secret_key
    from wardline.he.seal.lattice import Lattice

__all__ = [
    "Ciphertext",
    "Compiled",
    "EvaluationKeys",
    "Evaluator",
    "Fidelity",
    "Lattice",
    "LinearEvaluator",
    "LinearPlan",
    "LinearWeights",
    "Meaning",
    "Parameters",
    "Prepared",
    "Program",
    "PublicModel",
    "SealLattice",
    "SeededColumns",
    "SeededKeys",
    "compile_linear",
    "decrypt_scores",
    "encrypt_rows",
    "find_primes",
    "plan_linear",
    "prepare",
    "read_model",
    "read_public",
    "read_secret_key",
    "scores",
    "simulate",
    "write_model",
    "write_secret_key",
]

__getattr__ = lazy(
    __name__,
    {
        "ciphertext": ("Ciphertext", "EvaluationKeys", "SeededColumns", "SeededKeys"),
        "compiled.compiling": ("Compiled", "Fidelity", "compile_linear", "simulate"),
        "compiled.evaluator": ("Evaluator", "LinearEvaluator"),
        "compiled.folder": ("read_model", "read_public", "write_model"),
        "compiled.public_model": ("PublicModel",),
        "compiler.preparation": ("Prepared", "prepare"),
        "compiler.program": ("Meaning", "Program"),
        "linear.evaluation": ("scores",),
        "linear.plan": ("LinearPlan", "LinearWeights", "plan_linear"),
        "linear.rows": ("decrypt_scores", "encrypt_rows"),
        "parameters": ("Parameters", "find_primes"),
        "seal.bridge": ("SealLattice",),
        "seal.keyfile": ("read_secret_key", "write_secret_key"),
        "seal.lattice": ("Lattice",),
    },
    extra="he",
)
