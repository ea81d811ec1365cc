"""Pure functions of image arrays: normalise, augment, smooth.

May import the ground alone.
"""
