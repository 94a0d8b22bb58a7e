"""Tells people of alarms: webhook, MQTT, local sound; carries out what gateway/duty decides."""
