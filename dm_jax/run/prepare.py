"""Loads what a run needs and refuses whatever can be refused."""

from collections.abc import Callable
import dataclasses
import functools
import itertools
from pathlib import Path

from dm_jax.condensing.plan import check_trained
from dm_jax.config.fields import differences
from dm_jax.data.class_data import Dataset
from dm_jax.data.load import load
from dm_jax.data.split import hold_out
from dm_jax.data.variety import suspicions
from dm_jax.errors import InputError, check_text, choose
from dm_jax.images import augment
from dm_jax.images.storage import get_storage
from dm_jax.matching.discrepancy import parse_discrepancies
from dm_jax.networks.labels import label, parse_pool
from dm_jax.networks.registry import make_network
from dm_jax.run import processes
from dm_jax.run.config import RunConfig
from dm_jax.run.given import (
  SetFile,
  check_fits,
  read_on_lead,
  stored_alike,
  with_class_labels,
)
from dm_jax.run.inputs import changed_inputs
from dm_jax.run.job import (
  JUDGING,
  MODES,
  Job,
  own_part,
  split_seed,
  whole_batches,
)
from dm_jax.selection.select import (
  AT_RANDOM,
  JPEG,
  check_selection,
  needs_training,
  stored_as,
)
from dm_jax.training.evaluate import check_batches
from dm_jax.training.pool import check_pool


def prepare(
  config: RunConfig,
  mode: str,
  folder: Path,
  synthetic: SetFile | None,
  command: str,
  say: Callable[[str], None],
) -> Job:
  """Loads the data and refuses whatever can be refused.

  What an application asks beyond that is its own, see `dm_jax.run.run`.

  Args:
    config: all settings.
    mode: one of `MODES`.
    folder: the workdir; not touched.
    synthetic: in the modes of `JUDGING`, the file of the set.
    command: how the run was started.
    say: gets each line for the person who watches.

  Raises:
    InputError: something given cannot be used; the message says why.
  """
  # Orbax cannot write checkpoints elsewhere.
  check_text('workdir', str(folder.absolute()))
  _check_settings(config, mode, synthetic)
  # Networks that do not exist are refused before the data are read.
  pool = parse_pool(config.evaluate.pool, config.evaluation_network)
  # A set that is not there is refused before the data are read, too; it is read
  # after them, since they say the order of its classes.
  if synthetic is not None and processes.is_lead():
    synthetic = synthetic.recognised()
  dataset = _load_dataset(config)
  found = read_on_lead(synthetic, dataset.train)
  given = None
  if synthetic is not None and found is not None:
    given = synthetic.complete(found, dataset.train, say)
    check_fits(given, dataset.train, config)
    if mode == 'score':
      given = with_class_labels(given)
      config = stored_alike(config, given)
  make = functools.partial(
    make_network,
    image_shape=dataset.train.image_shape,
    classes=dataset.train.classes,
  )
  job = Job(
    config=config,
    mode=mode,
    dataset=dataset,
    split=hold_out(dataset.train, config.data.validation, split_seed(config)),
    network=make(config.network if given is None else pool[0]),
    pool={label(network): make(network) for network in pool},
    synthetic=given,
    folder=folder,
    command=command,
    say=say,
  )
  if given is None:
    _check_making(job)
  _check_inputs(job)
  return job


def _check_settings(
  config: RunConfig, mode: str, synthetic: SetFile | None
) -> None:
  """Raises InputError for what can be refused before anything is read."""
  choose('mode', mode, MODES)
  _check_application(config, mode)
  _check_labels(config, mode)
  _check_processes(config, mode)
  _check_jpeg(config)
  if mode in JUDGING and synthetic is None:
    raise InputError(f'mode {mode} needs a set: --synthetic=FILE')
  if mode not in JUDGING and synthetic is not None:
    modes = ' and '.join(f'--mode={name}' for name in JUDGING)
    raise InputError(f'--synthetic goes with {modes}, not {mode}')
  evaluate = config.evaluate
  judging = [evaluate.under(name).training for name in evaluate.protocols]
  for section in (config.condense, *judging, config.pretrain):
    augment.parse(section.augment)
  parse_discrepancies(config.condense.discrepancy)


def _check_jpeg(config: RunConfig) -> None:
  """Raises InputError where random_jpeg would have several sizes to fill."""
  if JPEG not in (config.method, *config.evaluate.selections):
    return
  several = {
    'several condense.images_per_class': len(config.condense.sizes) > 1,
    f'application {config.application}': config.application != 'none',
  }
  for what, given in several.items():
    if given:
      raise InputError(
        f'the selection {JPEG} fills the bytes of one set and does not go with'
        f' {what}: leave it out of method and evaluate.baselines',
        setting='evaluate.baselines',
      )


def _load_dataset(config: RunConfig) -> Dataset:
  """Loads this process's classes, of which there must be some."""
  dataset = load(config.data, own_part(config))
  classes = dataset.train.classes
  _check_shares(classes, whole_batches(config, classes))
  warned = (f'warning: {line}' for line in suspicions(dataset.train))
  return dataclasses.replace(dataset, notes=(*dataset.notes, *warned))


def _check_inputs(job: Job) -> None:
  """Raises InputError if a process reads other data than the lead."""
  if processes.count() == 1:
    return  # Digests take a while; they are made when they are needed.
  changed = changed_inputs(processes.broadcast(job.inputs), job.inputs)
  if changed:
    raise InputError(
      f'process {processes.index()} reads other data than process 0, as if'
      f' {"; ".join(changed)}: give all the same'
    )


def _check_application(config: RunConfig, mode: str) -> None:
  """Raises InputError if an application cannot be run so."""
  name = config.application
  if name == 'none':
    return
  wrong = {
    f'--mode={mode}': mode != 'run',
    f'sets {config.sets}': config.sets != 1,
    f'method {config.method}': config.method == 'whole',
    'evaluate.baselines whole': 'whole' in config.evaluate.selections,
    f'evaluate.pool {config.evaluate.pool}': config.evaluate.pool != 'same',
    f'evaluate.protocol {config.evaluate.protocol}': (
      len(config.evaluate.protocols) > 1
    ),
    'several condense.images_per_class': len(config.condense.sizes) > 1,
    'several processes': processes.count() > 1,
    # Each group would be judged on its own classes, by networks of all.
    f'evaluate.validation_every {config.evaluate.validation_every}': (
      name == 'continual' and config.evaluate.validation_every > 0
    ),
  }
  for what, given in wrong.items():
    if given:
      raise InputError(
        f'application {name} does not go with {what}: leave that out, or set'
        ' application none'
      )


def _check_labels(config: RunConfig, mode: str) -> None:
  """Raises InputError if a teacher cannot label the run's sets."""
  if config.labels == 'class' or mode == 'evaluate':
    return
  if mode == 'score':
    raise InputError(
      'a score is by class labels: leave labels out', setting='labels'
    )
  if config.embedder.name == 'random':
    raise InputError(
      f'labels {config.labels} takes them from a pool of trained networks, and'
      ' embedder.name random has none: set embedder.name trajectory,'
      ' interpolated or pool, or leave labels out',
      setting='labels',
    )
  # A stream's groups have teachers that know no class but their own, and its
  # memory counts the bytes of images alone.
  wrong = {
    f'application {config.application}': config.application == 'continual',
    f'method {config.method}': config.method == 'whole',
  }
  for what, given in wrong.items():
    if given:
      raise InputError(
        f'labels {config.labels} does not go with {what}: leave labels out',
        setting='labels',
      )


def _check_processes(config: RunConfig, mode: str) -> None:
  """Raises InputError if several processes cannot do such a run together."""
  count = processes.count()
  if count == 1:
    return
  # One program may span the processes: what it computes at a time, too.
  settings = {
    **config.settings(),
    'condense': dataclasses.asdict(config.condense),
    'data.placement': config.data.placement,
    'mode': mode,
  }
  changed = differences(settings, processes.broadcast(settings))
  if changed:
    raise InputError(
      f'process {processes.index()} has other settings than process 0'
      f' ({"; ".join(changed)}): start all with the same'
    )
  selected = config.evaluate.selections if mode == 'run' else ()
  baselines = [m for m in selected if m not in AT_RANDOM]
  alone = {
    f'method {config.method}': config.method not in ('dm', *AT_RANDOM),
    f'evaluate.baselines {",".join(baselines)}': bool(baselines),
    f'embedder.name {config.embedder.name}': config.embedder.name != 'random',
    'evaluate.validation_every': config.evaluate.validation_every > 0,
  }
  for what, given in alone.items():
    if given and mode not in JUDGING:  # A set that is given is only judged.
      raise _held_apart(what)


def _held_apart(what: str) -> InputError:
  """Returns the error of what several processes cannot do together."""
  return InputError(
    f'{what} needs the images of all classes, and each of {processes.count()}'
    ' processes holds only its own: leave it out, or run it in one process'
  )


def _check_shares(classes: int, together: int) -> None:
  """Raises InputError if a process would have nothing to do."""
  most = classes // together
  if processes.count() > most:
    what = 'classes' if together == 1 else f'batches of {together} classes'
    raise InputError(
      f'{processes.count()} processes are more than the {most} {what}:'
      f' start at most {most}'
    )


def _check_making(job: Job) -> None:
  config, train = job.config, job.split.train
  if config.method != 'dm':
    condense = config.condense
    check_selection(train, config.method, condense.largest, condense.stored_as)
    if needs_training(config.method):
      _check_pretraining(job)
    if config.labels == 'teacher':
      _check_pool(job)
    return
  check_trained(config.condense, config.embedder.name)
  if job.network.needs_whole_batch and processes.count() > 1:
    # Each device would take its statistics of its own classes, in silence.
    raise _held_apart(f'the batch norm of network.name {config.network.name}')
  _ = job.plan  # Refuses what cannot be condensed so, or fits nowhere.
  if config.embedder.name != 'random':
    _check_pool(job)


def _check_pool(job: Job) -> None:
  config, held_out = job.config, len(job.split.labels)
  check_pool(job.split.train, held_out, config.embedder, config.pretrain)
  _check_pretraining(job)


def _check_pretraining(job: Job) -> None:
  size = min(job.config.pretrain.batch_size, int(job.split.train.counts.sum()))
  if job.network.mixes_images and size == 1:
    raise InputError(
      'batch norm needs more than one image in a batch: raise'
      f' pretrain.batch_size, got {job.config.pretrain.batch_size}',
      setting='pretrain.batch_size',
    )


def check_evaluation(job: Job) -> None:
  """Raises InputError if the job's sets cannot be judged."""
  if job.mode == 'condense':
    return
  config, train = job.config.evaluate, job.split.train
  storage = job.config.condense.stored_as
  methods = (job.method, *config.selections)
  held = [
    get_storage(stored_as(method, storage)).per_stored
    for method in methods
    if method != JPEG  # How many there are is seen when they are stored.
  ]
  counts = {n * train.classes * each for n in job.sizes for each in held}
  if job.synthetic is not None:
    sizes, whole = job.sizes, len(job.synthetic.labels)
    counts = {whole * n // sizes[-1] for n in sizes}
  elif 'whole' in (job.method, *config.selections):
    counts.add(int(train.counts.sum()))
  batches = {config.under(p).training.batch_size for p in config.protocols}
  for network, count, batch in itertools.product(
    job.pool.values(), counts, batches
  ):
    check_batches(network, count, batch)
  if job.mode != 'run':
    return
  if any(map(needs_training, config.selections)):
    _check_pretraining(job)
  largest = job.config.condense.largest
  for method in config.selections:
    try:
      check_selection(job.split.train, method, largest, storage)
    except InputError as error:
      raise InputError(
        f'{error}; or leave {method} out of evaluate.baselines',
        setting='evaluate.baselines',
      ) from error
