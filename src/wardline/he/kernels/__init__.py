"""Exact arithmetic on residues: what the evaluator spends its time in.

The modules are imported by their full names, since most of them load numba.
"""
