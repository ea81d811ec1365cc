"""`launch.py` with application continual: orders of classes, methods, steps.

A stage is one group of classes of one order: a run of its own on these classes
alone, in `order_I/step_J`, which resumes as every run does.
"""

import dataclasses
import time

import jax
import numpy as np

from dm_jax.applications.memory import (
  grow,
  image_bytes,
  keep_as,
  reorder,
)
from dm_jax.applications.stream import (
  group_accuracies,
  keep_seen,
  summary,
)
from dm_jax.data.split import Split
from dm_jax.records.applications import Continual, StageResult, StreamSummary
from dm_jax.records.evaluations import Case, Evaluation
from dm_jax.records.metrics import MetricsWriter, read_metrics
from dm_jax.report.applications import save_figures
from dm_jax.run.groups import groups, watch
from dm_jax.run.job import Job, Purpose
from dm_jax.run.make import Maker, making_seconds, with_provenance
from dm_jax.run.recorder import draw_training_images, save_picture
from dm_jax.run.results_file import ResultsFile
from dm_jax.run.stages import (
  Stage,
  condense_config,
  condensing_network,
  evaluation_network,
  list_stages,
  methods_of,
  size_at,
)
from dm_jax.run.team import Team
from dm_jax.synthetic_set import SyntheticSet
from dm_jax.training.evaluate import evaluate, untold
from dm_jax.words import method_name


def lead(maker: Maker) -> None:
  """Does all stages, or those that are left.

  Args:
    maker: of the run; its results and workdir get what is found.
  """
  job, results = maker.job, maker.results
  config = job.config.continual
  told = dataclasses.asdict(config)
  found = dataclasses.replace(results.now.continual or Continual(), **told)
  results.keep(dataclasses.replace(results.now, continual=found))
  memories: dict[str, SyntheticSet | None] = {}
  for stage in list_stages(job.config, job.dataset.train.classes):
    if stage.step == 0:
      memories = dict.fromkeys(methods_of(job))
    memories = _do_stage(maker, stage, memories)
    if stage.step == config.steps - 1:
      _keep_memories(maker, stage, memories)
  _summarise(maker)
  save_figures(results.now, job.folder)


def _do_stage(
  maker: Maker, stage: Stage, memories: dict[str, SyntheticSet | None]
) -> dict[str, SyntheticSet | None]:
  """Makes each method's images of the new classes, and evaluates the memory."""
  job = maker.job
  size, store = size_at(job, stage), job.config.continual.store
  own = _stage_maker(maker, stage, size)
  grown: dict[str, SyntheticSet | None] = {}
  for method, memory in memories.items():
    new = _made(own, method, stage)
    grown[method] = grow(memory, keep_as(new, store), size)
  _collect_times(maker, own, stage)
  for method, memory in grown.items():
    if memory is not None:
      row = _row(maker, stage, method)
      if row is None:
        seconds = making_seconds(own.results.now, method, stage.order)
        row = _begun(job, stage, method, memory, seconds)
      _evaluate(maker, stage, memory, row)
  _log(maker, stage)
  return grown


def _stage_maker(maker: Maker, stage: Stage, size: int) -> Maker:
  """A maker for a stage's new classes alone, in the stage's folder."""
  job, new = maker.job, stage.groups[-1]
  folder = job.folder / f'order_{stage.order}' / f'step_{stage.step}'
  folder.mkdir(parents=True, exist_ok=True)
  condense = condense_config(job, size)
  rows, labels = keep_seen(job.split.labels, new)
  train = job.split.train.take(new).numbered_from(len(stage.seen) - len(new))
  own = dataclasses.replace(
    job,
    config=dataclasses.replace(job.config, condense=condense),
    split=Split(train, job.split.images[rows], labels),
    network=condensing_network(job, new),
    folder=folder,
    first_set=stage.order,
  )
  results = ResultsFile(folder, {})
  return Maker(own, maker.request, Team(own, maker.request), results)


def _made(own: Maker, method: str, stage: Stage) -> SyntheticSet:
  """Makes a stage's images by a method, or reads them."""
  job, number = own.job, stage.order
  if method != job.config.method:
    return own.select(method, number)
  path = job.folder / 'synthetic.npz'
  return SyntheticSet.load(path) if path.exists() else own.make(number)


def _begun(
  job: Job,
  stage: Stage,
  method: str,
  memory: SyntheticSet,
  seconds: float | None,
) -> StageResult:
  """Returns the row of a memory on which no network is trained yet.

  Args:
    job: of the run.
    stage: whose classes came last.
    method: that made the images.
    memory: what networks are to be trained on.
    seconds: to make the images of the new classes; None if not known.
  """
  images = len(memory.class_of)
  return StageResult(
    order=stage.order,
    step=stage.step,
    method=method,
    classes=memory.classes,
    images=images,
    images_per_class=images // memory.classes,
    bytes=images * image_bytes(memory.image_shape, job.config.continual.store),
    seconds_per_class=seconds and seconds / len(stage.groups[-1]),
  )


def _evaluate(
  maker: Maker, stage: Stage, memory: SyntheticSet, row: StageResult
) -> None:
  """Trains the networks that a row lacks, and keeps it after each group."""
  job, config = maker.job, maker.job.config.evaluate
  trained = len(row.accuracies)
  if trained == config.networks:
    return
  rows, labels = keep_seen(job.dataset.test_labels, stage.seen)
  images = job.dataset.test_images[rows]
  totals = np.bincount(labels, minlength=memory.classes)
  network = evaluation_network(job, stage)
  key = jax.random.fold_in(job.key(Purpose.EVALUATE, stage.order), stage.step)
  title = (
    f'order {stage.order + 1} of {job.config.continual.orders},'
    f' {memory.classes} classes, {row.method}'
  )
  with watch(title, config, maker.request, trained=trained) as watched:
    for first, group in groups(config, trained, len(memory.labels)):
      started = time.perf_counter()
      with untold():
        result = evaluate(
          memory,
          images,
          labels,
          group,
          key=key,
          network=network,
          callback=watched.callback,
          first=first,
        )
      reached = tuple(
        group_accuracies(correct, totals, len(stage.groups))
        for correct in result.correct
      )
      row = dataclasses.replace(
        row,
        accuracies=(*row.accuracies, *result.accuracies),
        group_accuracies=(*row.group_accuracies, *reached),
      )
      seconds = time.perf_counter() - started
      now = maker.results.now.with_evaluating(seconds)
      found = _found(maker).with_row(row)
      maker.results.keep(dataclasses.replace(now, continual=found))
      watched.keep(result)


def _found(maker: Maker) -> Continual:
  """What the stream has shown so far."""
  found = maker.results.now.continual
  assert found is not None
  return found


def _row(maker: Maker, stage: Stage, method: str) -> StageResult | None:
  return _found(maker).row(stage.order, stage.step, method)


def _collect_times(maker: Maker, own: Maker, stage: Stage) -> None:
  """Takes what condensing a stage cost over into the run's results."""
  for measured in own.results.now.condensing.values():
    name = f'{stage.order}/{stage.step}'
    maker.results.keep(maker.results.now.with_condensing(name, measured))


def _log(maker: Maker, stage: Stage) -> None:
  """Writes a stage's accuracies as a line of metrics, once."""
  folder, classes = maker.job.folder, len(stage.seen)
  key = {'order': stage.order, 'step': classes}
  if any(key.items() <= row.items() for row in read_metrics(folder)):
    return
  means = {}
  for method in methods_of(maker.job):
    row = _row(maker, stage, method)
    if row is not None:
      means[f'accuracy_{method}'] = float(np.mean(row.accuracies))
  with MetricsWriter(folder) as metrics:
    metrics.write(classes, order=stage.order, **means)


def _keep_memories(
  maker: Maker, stage: Stage, memories: dict[str, SyntheticSet | None]
) -> None:
  """Saves and draws the last memories of an order; of the first, on top.

  Their classes are put into the data's order, so that they fit the data.
  """
  job = maker.job
  for method, memory in memories.items():
    assert memory is not None
    name = 'synthetic' if method == job.config.method else f'memory_{method}'
    path = job.folder / f'order_{stage.order}' / f'{name}.npz'
    if path.exists():
      made = SyntheticSet.load(path)
    else:
      made = reorder(memory, job.dataset.train.class_names)
      made = with_provenance(made, job, method, stage.order)
      made.save(path)
    if stage.order > 0:
      continue
    picture = job.folder / 'images' / f'memory_{method}.png'
    save_picture(made, method_name(method), picture)
    if method == job.config.method:
      draw_training_images(made, method, picture.parent)
      made.save(job.folder / 'synthetic.npz')


def _summarise(maker: Maker) -> None:
  """Puts means over orders and networks into the results."""
  job, now, found = maker.job, maker.results.now, _found(maker)
  config = job.config.continual
  methods, evaluations = {}, []
  for method in methods_of(job):
    by_order = [
      [
        row
        for step in range(config.steps)
        if (row := found.row(order, step, method)) is not None
      ]
      for order in range(config.orders)
    ]
    rows = [[*map(dataclasses.asdict, rows)] for rows in by_order]
    methods[method] = StreamSummary(**summary(rows))
    last = [rows[-1] for rows in by_order]
    size = last[0].images_per_class
    case = Case(method, now.networks[0], size, now.protocols[0])
    evaluations.append(Evaluation.of(case, [row.accuracies for row in last]))
  size = evaluations[0].images_per_class
  maker.results.keep(
    dataclasses.replace(
      now,
      continual=dataclasses.replace(found, methods=methods),
      evaluations=tuple(evaluations),
      images_per_class=size,
      sizes=(size,),
      sets=config.orders,
    )
  )
