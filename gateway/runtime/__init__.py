"""Clock, back-off, supervision."""
