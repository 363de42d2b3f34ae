"""The client's half: keys, encryption and decryption, all of it done by SEAL."""
