"""Networks that index patterns, their labels, training and checkpoints."""
