"""Trains the project's own models, offline. torch is the extra `train`, not on a gateway."""
