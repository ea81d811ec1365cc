"""Devices: which classes lie where, free memory, how long to compute.

`layout` is the only module that deals to devices. May import the ground.
"""
