"""Networks by name, each as a `Network` of pure functions.

`registry` is the way in. May import config and the ground.
"""
