"""What small sets are for: continual learning and architecture search.

Pure functions of arrays and keys. May import selection, condensing, training
and what these stand on; `run` makes runs of them.
"""
