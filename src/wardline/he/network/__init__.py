"""Small networks on encrypted columns: thousands of rows at once, a ciphertext for each number of a row."""
