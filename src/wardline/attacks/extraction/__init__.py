"""A model copied through its answers."""
