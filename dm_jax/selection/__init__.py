"""Sets of real images, chosen class by class: what must be beaten.

Knows nothing of condensing; may import training and what it stands on.
"""
