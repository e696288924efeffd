"""Training: the loop on one screen, optimisers and schedules, checkpoints."""
