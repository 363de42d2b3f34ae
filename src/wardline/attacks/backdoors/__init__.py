"""Training data changed so that a model learns what its owner does not want."""
