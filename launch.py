"""Condenses a labelled image set: flags and a config in, one run out.

python launch.py --config=configs/digits.py
"""

from dm_jax_command import main

if __name__ == '__main__':
  main()
