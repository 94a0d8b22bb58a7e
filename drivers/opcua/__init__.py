"""OPC UA driver (subscription)."""
