"""Pure vocabulary: points, catalogue, alarms, events."""
