"""One row of a network at a time: matrices by diagonals on few ciphertexts, for answers in a fraction of a second."""
