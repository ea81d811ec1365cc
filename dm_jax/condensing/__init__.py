"""Condensing a whole set: every open setting, the loop, the product.

`plan` resolves what is open, once; `condense` is the way in. May import
matching, devices and what these stand on.
"""
