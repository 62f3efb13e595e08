"""Training: the loop, what it trains, checkpoints and logs."""
