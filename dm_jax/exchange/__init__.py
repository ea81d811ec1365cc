"""Image sets as other tools and papers keep them: files in, files out.

What is exchanged is `Released`, plain NumPy arrays and what they mean: this
room knows no `SyntheticSet`. It may import images and the ground.
"""
