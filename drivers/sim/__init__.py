"""Simulated plant that speaks the real protocols on loopback."""
