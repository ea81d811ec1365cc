import pytest

from dm_jax.records.score import (
  Accuracies,
  Score,
  augmentation_robust,
  label_robust,
  scaled,
)


def test_the_ends_of_the_scale():
  assert scaled(-1) == pytest.approx(0, abs=1e-15)
  assert scaled(1) == pytest.approx(1)
  # (1 - 0.3678794) / (2.7182818 - 0.3678794) = 0.6321206 / 2.3504024
  assert scaled(0) == pytest.approx(0.2689414, abs=1e-7)


def test_robust_to_labels():
  # 0.5 · (0.6 - 0.4) - 0.5 · (0.9 - 0.6) = -0.05; e^-0.05 = 0.9512294;
  # (0.9512294 - 0.3678794) / 2.3504024 = 0.2481916
  assert label_robust(0.6, 0.4, 0.9) == pytest.approx(0.2481916, abs=1e-6)
  # Weights: 0.8 · 0.2 - 0.2 · 0.3 = 0.1; e^0.1 = 1.1051709;
  # 0.7372915 / 2.3504024 = 0.3136873
  found = label_robust(0.6, 0.4, 0.9, weight=0.8)
  assert found == pytest.approx(0.3136873, abs=1e-6)


def test_robust_to_augmentation():
  accuracies = Accuracies(0.6, 0.4, 0.9, 0.35, 0.25)
  # 0.5 · 0.2 + 0.5 · 0.1 = 0.15; e^0.15 = 1.1618342;
  # 0.7939548 / 2.3504024 = 0.3377953
  found = augmentation_robust(accuracies)
  assert found == pytest.approx(0.3377953, abs=1e-6)
  assert augmentation_robust(accuracies, weight=1) == pytest.approx(scaled(0.2))


def test_a_score_holds_what_it_is_made_of():
  score = Score.of(Accuracies(0.6, 0.4, 0.9, 0.35, 0.25))
  assert score.label_robust == label_robust(0.6, 0.4, 0.9)
  assert (score.synthetic_bare, score.random_bare) == (0.35, 0.25)
