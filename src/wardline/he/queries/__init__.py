"""Counts, sums, means and histograms of an encrypted table, under a filter, at a server that sees no value."""
