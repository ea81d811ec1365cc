"""The paper: one pure step of distribution matching.

`step` shows the algorithm on a screen; the other modules are its parts. May
import networks, data, images, devices and config, and knows no loop.
"""
