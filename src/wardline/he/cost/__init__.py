"""What a model will cost before anything is encrypted: work, seconds, and the packing that is cheaper for a batch."""
