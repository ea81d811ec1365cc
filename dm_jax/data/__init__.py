"""Sources of labelled images, all read as `ClassData`: grouped by class.

May import images, config and the ground.
"""
