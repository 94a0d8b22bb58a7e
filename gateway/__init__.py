"""The plantgate gateway: composes drivers, vision and buffer into one process."""
