"""From a trained model to a program of maps and polynomials that can be computed on ciphertexts."""
