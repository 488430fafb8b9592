"""Training: one step for every objective, one loop, checkpoints that resume exactly, workers on Ray."""
