"""Linear models on encrypted columns: thousands of rows in a ciphertext, a feature each."""
