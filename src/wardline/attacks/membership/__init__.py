"""Who was trained on: LOSS, RMIA and LiRA against stacks of reference models, and a memorising control."""
