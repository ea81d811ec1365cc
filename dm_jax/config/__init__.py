"""Every setting of the library: type, default, range and meaning.

Knows no other room; `run.config` and `applications.config` hold the settings
of theirs.
"""
