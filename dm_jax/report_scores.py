"""What a run found, in numbers and in plain words."""

from collections.abc import Sequence
import dataclasses

from dm_jax.types import Json


@dataclasses.dataclass(frozen=True)
class Score:
  """How well networks trained on one set do on the test set.

  Attributes:
    name: of the set: synthetic, random real or whole set.
    detail: its size, e.g. 10 per class.
    mean: accuracy, in [0, 1].
    deviation: between networks, in [0, 1]; None if it is not known or there is
      one network only.
    accuracies: of each network, in [0, 1]; may be empty.
  """

  name: str
  detail: str
  mean: float
  deviation: float | None = None
  accuracies: Sequence[float] = ()

  def __str__(self) -> str:
    """Returns e.g. 92.3 ± 0.4."""
    spread = '' if self.deviation is None else f' ± {percent(self.deviation)}'
    return percent(self.mean) + spread


def read_scores(results: Json) -> list[Score]:
  """Returns a score for each set that was evaluated, the synthetic one first.

  Args:
    results: as in results.json.
  """
  per_class = f'{results.get("images_per_class") or "?"} per class'
  images = (results.get('data') or {}).get('train_images')
  everything = f'{images:,} images' if images else 'all images'
  sets = (
    ('synthetic', per_class, 'accuracy', 'accuracies'),
    (
      'random real',
      per_class,
      'baseline_random',
      'baseline_random_accuracies',
    ),
    ('whole set', everything, 'whole_set', 'whole_set_accuracies'),
  )
  scores = []
  for name, detail, key, each in sets:
    mean = results.get(f'{key}_mean')
    accuracies = results.get(each) or ()
    # One network deviates from nothing: ± 0.0 would look like certainty.
    known = len(accuracies) != 1
    deviation = results.get(f'{key}_std') if known else None
    if mean is not None:
      scores.append(Score(name, detail, mean, deviation, accuracies))
  return scores


def warning(scores: Sequence[Score]) -> str:
  """Returns a warning if the synthetic images are not worth having, or ''."""
  means = {score.name: score.mean for score in scores}
  if not {'synthetic', 'random real'} <= means.keys():
    return ''
  ours, random = means['synthetic'], means['random real']
  # Not `ours <= random`, so that an accuracy of NaN warns, too.
  if ours > random:
    return ''
  return (
    'The synthetic images are no better than random real ones: networks '
    f'trained on them reach {percent(ours)} %, on as many random real images '
    f'{percent(random)} %. Condense for more steps or try another learning '
    'rate.'
  )


def sentence(scores: Sequence[Score]) -> str:
  """Returns the synthetic set's score beside the others, or '' without it."""
  known = {score.name: score for score in scores}
  ours = known.get('synthetic')
  if ours is None:
    return ''
  compared = ''.join(
    f', {percent(abs(ours.mean - known[name].mean))} points '
    f'{"above" if ours.mean > known[name].mean else "below"} {what}'
    for name, what in (
      ('random real', 'as many random real images'),
      ('whole set', 'all real images'),
    )
    if name in known
  )
  return (
    f'Networks trained on nothing else reach {ours} % on the test set'
    f'{compared}.'
  )


def percent(fraction: float) -> str:
  """Returns 92.3 for 0.923."""
  return f'{100 * fraction:.1f}'
