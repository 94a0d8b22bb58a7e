"""Batch to normalise to rules to buffer: the flow on one screen."""
