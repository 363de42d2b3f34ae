"""Texts changed so that a model gets them wrong while a person still reads the same."""
