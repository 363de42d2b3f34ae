"""Training that withstands changed inputs: projected gradient descent, TRADES, one random step, and noise."""
