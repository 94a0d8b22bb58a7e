"""Generated wire code."""
