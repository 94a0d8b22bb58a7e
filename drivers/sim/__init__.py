"""Simulated plant that speaks the real protocols on loopback. No driver: it exports no DRIVER."""
