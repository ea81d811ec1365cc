"""One run of the command: check, make, judge, record, resume.

`run` is the way in. May import every other room.
"""
