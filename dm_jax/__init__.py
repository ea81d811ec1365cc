"""dm_jax."""
