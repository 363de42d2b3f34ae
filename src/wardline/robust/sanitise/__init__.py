"""Poisoned training data and backdoors: finding them, cleaning them out, and training that withstands them."""
