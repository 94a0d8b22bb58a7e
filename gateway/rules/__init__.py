"""Pure rules: limit alarms and headcount."""
