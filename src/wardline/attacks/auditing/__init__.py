"""Lower bounds on epsilon: one-run audits of training, audits of mechanisms and of synthetic tables."""
