"""Room `he`: scores of encrypted data. The client encrypts and decrypts with SEAL, the server computes on ciphertexts.

Names are loaded when first used, so that a server does not load SEAL, and a client no machine learning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wardline.core.lazy import lazy

if TYPE_CHECKING:
    from wardline.he.ciphertext import Ciphertext, EvaluationKeys, SeededColumns, SeededKeys
    from wardline.he.compiled.compiling import Compiled, compile, compile_model, compile_single
    from wardline.he.compiled.evaluator import Evaluator, LinearEvaluator
    from wardline.he.compiled.fidelity import Fidelity, simulate
    from wardline.he.compiled.folder import read_model, read_public, write_model
    from wardline.he.compiled.network_evaluator import NetworkEvaluator
    from wardline.he.compiled.public_model import PublicModel
    from wardline.he.compiler.friendly import FriendlySettings, friendly
    from wardline.he.compiler.preparation import Prepared, prepare
    from wardline.he.compiler.program import Meaning, Program
    from wardline.he.cost.packing import choose_packing
    from wardline.he.cost.prediction import Predicted, seconds
    from wardline.he.diagonal.choice import plan_diagonal
    from wardline.he.diagonal.plan import DiagonalPlan, DiagonalWeights
    from wardline.he.forest.choice import plan_forest
    from wardline.he.forest.plan import ForestPlan, ForestWeights
    from wardline.he.forest.reading import read_forest
    from wardline.he.forest.trees import Forest
    from wardline.he.hybrid.cutting import Split, split
    from wardline.he.hybrid.front import Front, check_front, load_front, save_front
    from wardline.he.hybrid.leakage import Leakage
    from wardline.he.linear.evaluation import scores
    from wardline.he.linear.plan import LinearPlan, LinearWeights, plan_linear
    from wardline.he.linear.rows import decrypt_outputs, encrypt_rows
    from wardline.he.lookup.answering import answer_question
    from wardline.he.lookup.asking import ask_record, lookup_keys, read_record
    from wardline.he.lookup.database import Database, PublicDatabase, build_database, open_database
    from wardline.he.lookup.plan import LookupPlan, plan_lookup
    from wardline.he.network.choice import plan_network
    from wardline.he.network.plan import NetworkPlan, NetworkWeights
    from wardline.he.parameters import Parameters, find_primes
    from wardline.he.queries.choice import plan_table
    from wardline.he.queries.circuit import plan_query
    from wardline.he.queries.derivation import derive_schema
    from wardline.he.queries.folder import read_encrypted_table, write_table
    from wardline.he.queries.language import Query, parse_where
    from wardline.he.queries.plan import TablePlan
    from wardline.he.queries.rows import decrypt_result, encrypt_table
    from wardline.he.queries.schema import Schema
    from wardline.he.seal.bridge import SealLattice
    from wardline.he.seal.keyfile import read_secret_key, write_secret_key
    from wardline.he.seal.lattice import Lattice

__all__ = [
    "Ciphertext",
    "Compiled",
    "Database",
    "DiagonalPlan",
    "DiagonalWeights",
    "EvaluationKeys",
    "Evaluator",
    "Fidelity",
    "Forest",
    "ForestPlan",
    "ForestWeights",
    "FriendlySettings",
    "Front",
    "Lattice",
    "Leakage",
    "LinearEvaluator",
    "LinearPlan",
    "LinearWeights",
    "LookupPlan",
    "Meaning",
    "NetworkEvaluator",
    "NetworkPlan",
    "NetworkWeights",
    "Parameters",
    "Predicted",
    "Prepared",
    "Program",
    "PublicDatabase",
    "PublicModel",
    "Query",
    "Schema",
    "SealLattice",
    "SeededColumns",
    "SeededKeys",
    "Split",
    "TablePlan",
    "answer_question",
    "ask_record",
    "build_database",
    "check_front",
    "choose_packing",
    "compile",
    "compile_model",
    "compile_single",
    "decrypt_outputs",
    "decrypt_result",
    "derive_schema",
    "encrypt_rows",
    "encrypt_table",
    "find_primes",
    "friendly",
    "load_front",
    "lookup_keys",
    "open_database",
    "parse_where",
    "plan_diagonal",
    "plan_forest",
    "plan_linear",
    "plan_lookup",
    "plan_network",
    "plan_query",
    "plan_table",
    "prepare",
    "read_encrypted_table",
    "read_forest",
    "read_model",
    "read_public",
    "read_record",
    "read_secret_key",
    "save_front",
    "scores",
    "seconds",
    "simulate",
    "split",
    "write_model",
    "write_secret_key",
    "write_table",
]

__getattr__ = lazy(
    __name__,
    {
        "ciphertext": ("Ciphertext", "EvaluationKeys", "SeededColumns", "SeededKeys"),
        "compiled.compiling": ("Compiled", "compile", "compile_model", "compile_single"),
        "compiled.evaluator": ("Evaluator", "LinearEvaluator"),
        "compiled.fidelity": ("Fidelity", "simulate"),
        "compiled.folder": ("read_model", "read_public", "write_model"),
        "compiled.network_evaluator": ("NetworkEvaluator",),
        "compiled.public_model": ("PublicModel",),
        "compiler.friendly": ("FriendlySettings", "friendly"),
        "compiler.preparation": ("Prepared", "prepare"),
        "compiler.program": ("Meaning", "Program"),
        "cost.packing": ("choose_packing",),
        "cost.prediction": ("Predicted", "seconds"),
        "diagonal.choice": ("plan_diagonal",),
        "diagonal.plan": ("DiagonalPlan", "DiagonalWeights"),
        "forest.choice": ("plan_forest",),
        "forest.plan": ("ForestPlan", "ForestWeights"),
        "forest.reading": ("read_forest",),
        "forest.trees": ("Forest",),
        "hybrid.cutting": ("Split", "split"),
        "hybrid.front": ("Front", "check_front", "load_front", "save_front"),
        "hybrid.leakage": ("Leakage",),
        "linear.evaluation": ("scores",),
        "linear.plan": ("LinearPlan", "LinearWeights", "plan_linear"),
        "linear.rows": ("decrypt_outputs", "encrypt_rows"),
        "lookup.answering": ("answer_question",),
        "lookup.asking": ("ask_record", "lookup_keys", "read_record"),
        "lookup.database": ("Database", "PublicDatabase", "build_database", "open_database"),
        "lookup.plan": ("LookupPlan", "plan_lookup"),
        "network.choice": ("plan_network",),
        "network.plan": ("NetworkPlan", "NetworkWeights"),
        "parameters": ("Parameters", "find_primes"),
        "queries.choice": ("plan_table",),
        "queries.circuit": ("plan_query",),
        "queries.derivation": ("derive_schema",),
        "queries.folder": ("read_encrypted_table", "write_table"),
        "queries.language": ("Query", "parse_where"),
        "queries.plan": ("TablePlan",),
        "queries.rows": ("decrypt_result", "encrypt_table"),
        "queries.schema": ("Schema",),
        "seal.bridge": ("SealLattice",),
        "seal.keyfile": ("read_secret_key", "write_secret_key"),
        "seal.lattice": ("Lattice",),
    },
    extra="he",
)
