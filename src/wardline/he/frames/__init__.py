"""The binary format in which ciphertexts and keys travel, and its strict reader."""
