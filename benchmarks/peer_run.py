"""A whole run of the paper as a plain PyTorch loop, on the library's images.

  pip install -e '.[bench]'
  python benchmarks/peer_run.py --config=configs/cifar10.py:ipc=10 \\
      --workdir=runs/torch --config.condense.steps=1000 \\
      --config.evaluate.networks=5 --config.evaluate.baselines=none \\
      --record=runs/torch.json

Condenses with `peer_torch.py`, then trains networks on the set by the paper's
protocol and tests them. Flags and config are those of launch.py, and so are the
images, those held out included, so that accuracy, and accuracy over seconds,
stand beside a run of the library. The workdir holds the same `results.json`,
`metrics.jsonl` and `synthetic.npz`. Settings that the loop does not know are
refused. The same command goes on after a stop.
"""

import shlex
import sys

from absl import flags
from ml_collections import config_flags

from benchmarks.start import start
from benchmarks.torch_run import make_record, run_in_torch
from dm_jax.files import full_path, write_json
from dm_jax.run.config import RunConfig

_CONFIG = config_flags.DEFINE_config_file('config', None, 'As for launch.py.')
_WORKDIR = flags.DEFINE_string('workdir', 'runs/torch', 'Of the run.')
_RECORD = flags.DEFINE_string('record', '', 'JSON file to write in the end.')


def main(_: list[str]) -> None:
  config = RunConfig.from_dict(_CONFIG.value.to_dict())
  folder = full_path(_WORKDIR.value, '--workdir')
  run_in_torch(config, folder, command=shlex.join(['python', *sys.argv]))
  if _RECORD.value:
    write_json(full_path(_RECORD.value, '--record'), make_record(folder))


if __name__ == '__main__':
  flags.mark_flag_as_required('config')
  start(main)
