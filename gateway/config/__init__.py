"""Configuration: the typed model, and the loader that reports all errors at once."""
