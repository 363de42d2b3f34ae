"""Models in two parts: a front that the client runs in the clear, and a back that is computed on ciphertexts."""
