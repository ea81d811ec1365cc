"""What a run keeps for later: results, metrics, checkpoints.

May import the ground alone.
"""
