"""What a person reads: pages, tables and figures, made from records.

Knows neither JAX nor configs; may import records and the ground.
"""
