"""Modbus driver (TCP)."""
