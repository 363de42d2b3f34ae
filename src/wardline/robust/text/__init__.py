"""Defences of text classifiers, and the changes to texts that they are measured against."""
