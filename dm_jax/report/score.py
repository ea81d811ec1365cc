"""DD-Ranking's scores as a table."""

from dm_jax.records.results import Results
from dm_jax.report.table import Table, data_name
from dm_jax.words import percent


def score_table(results: Results) -> Table | None:
  """Returns both scores, and the accuracies that they are made of.

  Args:
    results: of a run.
  """
  score = results.score
  if score is None:
    return None
  return Table(
    f'{data_name(results)}: DD-Ranking scores by class labels',
    ('What', 'Augmented', 'Not augmented', 'Score'),
    (
      ('the set', percent(score.synthetic), percent(score.synthetic_bare), ''),
      ('random real', percent(score.random), percent(score.random_bare), ''),
      ('whole set', percent(score.whole), '–', ''),
      ('label-robust (LRS)', '', '', f'{score.label_robust:.3f}'),
      ('augmentation-robust (ARS)', '', '', f'{score.augmentation_robust:.3f}'),
    ),
    (
      'Accuracies in %, after the last epoch. Scores are in 0 to 1, of'
      ' accuracies as fractions, by the documented formulas with weights of'
      ' 0.5; those that ddranking 0.2.0 prints put percent into them. Random'
      ' real images are as many per class as the set has, stored as it is.',
    ),
  )
