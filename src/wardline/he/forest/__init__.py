"""Trees and forests on encrypted rows, exactly: clients compare with thresholds, and servers multiply bits."""
