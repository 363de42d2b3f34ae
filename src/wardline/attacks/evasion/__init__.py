"""Inputs changed so that a model gets them wrong."""
