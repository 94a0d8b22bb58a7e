"""Field drivers: one folder per protocol behind drivers/contract.py."""
