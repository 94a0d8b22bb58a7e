"""Camera analysis in a process of its own. A leaf: imports nothing else of this project."""
