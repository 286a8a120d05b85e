"""Files: learngenes, checkpoints of others, images, configs, and how images are made ready."""
