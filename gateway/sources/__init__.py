"""Run one driver or one camera process and translate into the model."""
