import base64
from html.parser import HTMLParser
import io
import json
import re
from typing import Any

import numpy as np
from PIL import Image
import pytest

from dm_jax.records.metrics import MetricsWriter
from dm_jax.records.results import from_json
from dm_jax.report.grid import save_png
from dm_jax.report.page import summary_lines, write_report
from dm_jax.run.config import RunConfig

DATA: dict[str, Any] = {
  'name': 'digits',
  'classes': 10,
  'class_names': [*map(str, range(9)), '<script>alert(9)</script>'],
  'train_images': 1437,
  'test_images': 360,
  'image_shape': [8, 8, 1],
  'mean': [0.3053],
  'std': [0.376],
}


def entry(method, size, sets, network='convnet:width=32'):
  return {
    'method': method,
    'images_per_class': size,
    'network': network,
    'accuracies': sets,
    'mean': float(np.mean(sets)),
    'std': float(np.std(sets)),
  }


RESULTS: dict[str, Any] = {
  'mode': 'run',
  'seed': 7,
  'command': 'launch.py --config=configs/digits.py --workdir=/tmp/a&b',
  'data': DATA,
  'method': 'dm',
  'sets': 1,
  'images_per_class': 10,
  'sizes': [10],
  'networks': ['convnet:width=32'],
  'condensing_network': 'convnet:width=32',
  'evaluations': [
    entry('dm', 10, [[0.92, 0.92, 0.93, 0.92, 0.925]]),
    entry('random', 10, [[0.84, 0.85, 0.86]]),
    entry('whole', None, [[0.986]]),
  ],
  'seconds_per_step': 0.0624,
  'compile_seconds': 4.2,
  'condense_seconds': 62.4,
  'evaluate_seconds': 31.0,
  'images_per_second': 41_025.0,
  'peak_bytes': 812_345_678,
  'versions': {'jax': '0.10.2', 'dm_jax': '0.1.0'},
  'device': 'TPU v5 <lite>',
  'resumed_from': [200, 600],
  'final_loss': 3.45678,
}
CONFIG = RunConfig().to_dict()
# Several networks and sizes, two sets, and validation on the way.
LARGE: dict[str, Any] = RESULTS | {
  'sets': 2,
  'sizes': [1, 10],
  'networks': ['convnet:width=32', 'mlp'],
  'evaluations': [
    entry(method, size, [[mean, mean], [mean, mean]], network)
    for network in ('convnet:width=32', 'mlp')
    for method, size, mean in (
      ('dm', 1, 0.3),
      ('dm', 10, 0.5),
      ('random', 1, 0.2),
      ('random', 10, 0.4 if network != 'mlp' else 0.55),
    )
  ],
  'validation': [
    {'set': i, 'step': step, 'images_per_class': size, 'mean': 0.1 * i + 0.3}
    for i in range(2)
    for step in (500, 1000)
    for size in (1, 10)
  ],
}


class Page(HTMLParser):
  """The visible words of a page, and its tags; fails on unbalanced ones."""

  EMPTY = frozenset({'meta', 'img', 'br', 'wbr', 'path'})

  def __init__(self, html):
    super().__init__()
    self.tags, self.open, self.text = [], [], ''
    self.feed(html)
    assert self.open == []
    self.text = ' '.join(self.text.split())

  def handle_starttag(self, tag, attrs):
    self.tags.append((tag, dict(attrs)))
    self.space(tag)
    if tag not in self.EMPTY:
      self.open.append(tag)

  def handle_endtag(self, tag):
    self.space(tag)
    if tag not in self.EMPTY:
      assert self.open.pop() == tag

  def handle_data(self, data):
    if 'style' not in self.open:
      self.text += data

  def space(self, tag):
    self.text += '' if tag == 'wbr' else ' '

  def all(self, name):
    return [attrs for tag, attrs in self.tags if tag == name]


@pytest.fixture
def workdir(tmp_path):
  with MetricsWriter(tmp_path) as metrics:
    for step in range(0, 20_001, 100):
      metrics.write(step, loss=1000 / (1 + step / 100))
  for step in (5000, 0, 20_000):
    picture = Image.new('RGB', (60, 40), (step // 100, 0, 0))
    save_png(picture, tmp_path / f'images/step_{step:06d}.png')
  return tmp_path


def read(workdir, results=RESULTS, config=CONFIG):
  path = write_report(workdir, from_json(results), config)
  assert path == workdir / 'report.html'
  return path.read_text('utf-8')


def summary(results):
  return summary_lines(from_json(results))


def without(*names):
  return {name: v for name, v in RESULTS.items() if name not in names}


def test_page_and_summary_say_that_a_teacher_labels(workdir):
  taught = RESULTS | {'teachers': 4}
  note = 'from a teacher, 4 networks trained on real images, but for the whole'
  assert note in Page(read(workdir, taught)).text
  assert [note in line for line in summary(taught)].count(True) == 1
  assert not any('teacher' in line for line in summary(RESULTS))
  # Nothing is evaluated yet.
  none = taught | {'evaluations': []}
  assert not any('teacher' in line for line in summary(none))


RECIPE = CONFIG | {
  'condense': CONFIG['condense'] | {'storage': 'tiles', 'factor': 2}
}
NOT_THE_PAPERS = (
  "DM here is not the paper's: condense.storage tiles; condense.factor 2."
)


def test_the_page_says_where_dm_is_not_the_papers(workdir):
  page = Page(read(workdir, config=RECIPE)).text
  # Beside what is shown once for each form that is copied.
  assert page.count(NOT_THE_PAPERS) > 1
  assert "not the paper's" not in Page(read(workdir)).text
  for other in (
    RESULTS | {'method': 'random'},
    # The config is of the judging, not of the images.
    RESULTS | {'mode': 'evaluate'},
  ):
    page = Page(read(workdir, other, RECIPE)).text
    assert "not the paper's" not in page


@pytest.mark.parametrize(
  ('real', 'words'),
  [(60_000, '600 times'), (1_281_167, '12,812 times'), (150, '1.5 times')],
)
def test_how_many_times_fewer_images_is_written_out(workdir, real, words):
  data = RESULTS['data'] | {'train_images': real}
  text = Page(read(workdir, RESULTS | {'data': data})).text
  assert f'{real:,} → 100 {words} fewer' in text


def test_the_page_says_what_the_run_found(workdir):
  text = Page(read(workdir)).text
  for words in (
    'digits, 10 images per class',
    '1,437 real images were condensed into 100 synthetic ones.',
    'reach 92.3 ± 0.4 % on the test set, 7.3 points above as many random real '
    'images, 6.3 points below all real images.',
    'synthetic 10 per class',
    'random real 10 per class',
    'whole set 1,437 images',
    '85.0 ± 0.8 %',
    '1,437 → 100 14.4 times fewer',
    '92 kB → 6.4 kB',
    'Loss, logarithmic',
    'The last loss is 3.457.',
    'compile 4.2 s',
    'condense 1 min 2 s',
    'evaluate 31 s',
    'total 1 min 38 s',
    'peak memory 812 MB',
    'one step 62.4 ms',
    'speed 41,025 images per second',
    'resumed from step 200, 600',
    'seed 7',
    'device TPU v5 <lite>',
    'jax 0.10.2',
    '--workdir=/tmp/a&b',
    'condense.batch_real 256',
    'evaluate.network.name –',
    'evaluate.weight_decay 0.0005',
    'channel means 0.3053',
    '8, <script>alert(9)</script>',
  ):
    assert words in text, words


def test_the_page_is_one_file_without_scripts(workdir):
  html = read(workdir)
  page = Page(html)
  assert not re.search(r'https?://|@import|url\(', html)
  assert {tag for tag, _ in page.tags}.isdisjoint({'script', 'link', 'iframe'})
  assert all(img['src'].startswith('data:image/') for img in page.all('img'))
  assert not re.search(r'\$[{\w]', html)
  assert 'prefers-color-scheme: dark' in html


def test_the_same_inputs_give_the_same_page(workdir):
  assert read(workdir) == read(workdir)


def test_pictures_come_in_order_and_as_they_are(workdir):
  page = Page(read(workdir))
  pictures = page.all('img')
  assert [picture['alt'] for picture in pictures] == [
    'Step 0, the start',
    'Step 5,000',
    'Step 20,000, the end',
  ]
  for picture, step in zip(pictures, (0, 5000, 20_000), strict=True):
    data = picture['src'].removeprefix('data:image/png;base64,')
    original = workdir / f'images/step_{step:06d}.png'
    assert base64.b64decode(data) == original.read_bytes()
    assert (picture['width'], picture['height']) == ('60', '40')
  assert 'compressed' not in page.text


def test_large_pictures_are_compressed_below_ten_megabytes(tmp_path):
  noise = np.random.default_rng(0).integers(0, 256, (1000, 1200, 3), np.uint8)
  for step in range(3):
    save_png(Image.fromarray(noise), tmp_path / f'images/step_{step:06d}.png')
  save_png(Image.new('RGB', (9, 9)), tmp_path / 'images/real.png')
  html = read(tmp_path)
  assert len(html) < 10e6
  *large, small = Page(html).all('img')
  assert small['alt'] == 'real'
  assert small['src'].startswith('data:image/png')
  for picture in large:
    data = picture['src'].removeprefix('data:image/jpeg;base64,')
    with Image.open(io.BytesIO(base64.b64decode(data))) as shown:
      assert shown.width / shown.height == pytest.approx(1.2, rel=0.01)
  assert 'Shown compressed; in full in images/step_000000.png' in html


def test_a_page_of_a_thousand_classes_stays_short(tmp_path):
  noise = np.random.default_rng(0).integers(0, 256, (1000, 1200, 3), np.uint8)
  for step in range(5):
    save_png(Image.fromarray(noise), tmp_path / f'images/step_{step:06d}.png')
  names = [f'a class with a long name, {i}' for i in range(1000)]
  data = DATA | {'classes': 1000, 'class_names': names}
  html = read(tmp_path, RESULTS | {'data': data})
  assert len(html) < 700_000
  page = Page(html)
  assert len(page.all('img')) == 5
  assert 'in full in images/step_000004.png' in html
  assert names[199] in page.text
  assert names[200] not in page.text
  assert 'and 800 more' in page.text


def test_of_many_pictures_some_are_shown(tmp_path):
  for step in range(30):
    save_png(Image.new('L', (2, 2)), tmp_path / f'images/step_{step:06d}.png')
  page = Page(read(tmp_path))
  shown = [picture['alt'] for picture in page.all('img')]
  assert len(shown) == 9
  assert (shown[0], shown[-1]) == ('Step 0, the start', 'Step 29')
  assert '21 more in images/.' in page.text


@pytest.mark.parametrize(('ours', 'warned'), [(0.9, False), (0.85, True)])
def test_a_warning_stands_there_iff_not_above_the_baseline(
  workdir, ours, warned
):
  _, random, whole = RESULTS['evaluations']
  entries = [entry('dm', 10, [[ours]]), random, whole]
  results = RESULTS | {'evaluations': entries}
  page, lines = Page(read(workdir, results)).text, summary(results)
  for text in (page, '\n'.join(lines)):
    assert ('no better' in text) == warned
    assert ('a smaller condense.learning_rate' in text) == warned
  assert ('Warning.' in page) == warned
  assert any(line.startswith('warning: convnet') for line in lines) == warned


def test_several_networks_sizes_and_sets(workdir):
  page = Page(read(workdir, LARGE))
  # Evaluating on the way is not timed.
  assert 'Time, known parts 1 min 38 s' in page.text
  for words in (
    'digits, 1 and 10 images per class',
    'into 100 synthetic ones, 2 times independently. Smaller sets take the '
    'first 1 per class. At 10 per class, networks (ConvNet, width 32) '
    'trained on nothing else reach 50.0 ± 0.0 % on the test set, over 2 sets × '
    '2 networks, 10.0 points above',
    'Images per class Set Bytes ConvNet, width 32 MLP',
    '10 DM 6.4 kB 50.0 ± 0.0 50.0 ± 0.0',
    'Each cell: 2 sets × 2 networks.',
    '| 10 | DM | 6.4 kB | 50.0 ± 0.0 | 50.0 ± 0.0 |',
    r'10 & DM & 6.4 kB & 50.0 $\pm$ 0.0 & 50.0 $\pm$ 0.0 \\',
    'Warning. mlp, 10 per class: synthetic images reach 50.0 %',
    'Validation accuracy, % 1 per class 10 per class',
    'mean over 2 sets',
    'the test set was not used',
  ):
    assert words in page.text, words
  assert len(page.all('details')) == 2
  lines = summary(LARGE)
  assert (
    lines[0] == 'synthetic (10 per class)    50.0 ± 0.0 %   2 sets × 2 networks'
    '   6.4 kB'
  )
  assert '10          DM           6.4 kB     50.0 ± 0.0  50.0 ± 0.0' in lines
  assert [line for line in lines if line.startswith('warning')] == [
    'warning: mlp, 10 per class: synthetic images reach 50.0 %, no better than'
    ' random real ones, 55.0 %.'
  ]


def test_a_run_that_selects_real_images(workdir):
  entries = [entry('herding', 10, [[0.5, 0.6]]), *RESULTS['evaluations'][1:]]
  page = Page(
    read(workdir, RESULTS | {'method': 'herding', 'evaluations': entries})
  )
  assert '100 of 1,437 real images were selected by herding.' in page.text
  assert 'The synthetic images' not in page.text
  assert 'herding images reach 55.0 %, no better than' in page.text


def test_a_run_on_the_whole_set(workdir):
  entries = RESULTS['evaluations'][2:]
  page = Page(
    read(workdir, RESULTS | {'method': 'whole', 'evaluations': entries})
  )
  assert 'digits, whole set All 1,437 real images were taken.' in page.text
  assert 'times fewer' not in page.text


def test_a_run_that_was_not_evaluated_says_so(workdir):
  results = {'mode': 'condense', 'seed': 0, 'command': 'launch.py'}
  page = Page(read(workdir, results, {}))
  assert 'No accuracies yet' in page.text
  assert '--mode=run' in page.text
  assert 'Warning' not in page.text
  assert summary(results) == [
    'No accuracies yet: no network has been trained on these images. The same '
    'command with --mode=run goes on to do that.'
  ]


def test_every_optional_result_may_be_missing_or_none(tmp_path):
  for name in RESULTS:
    assert from_json(without(name)) == from_json(RESULTS | {name: None})
    Page(read(tmp_path, LARGE | {name: None}))
  for name in DATA:
    data = {key: v for key, v in DATA.items() if key != name}
    Page(read(tmp_path, RESULTS | {'data': data}))


def test_everything_given_is_escaped(workdir):
  bad = '<b title="x">&amp;'
  results = RESULTS | {
    'mode': bad,
    'command': f'launch.py {bad} --workdir={bad}',
    'device': bad,
    'versions': {bad: bad},
    'data': DATA | {'name': bad, 'class_names': [bad] * 10},
    'method': bad,
    'networks': [bad],
    'condensing_network': bad,
    'evaluations': [
      entry(bad, 10, [[0.1]], bad),
      entry('random', 10, [[0.1]], bad),
    ],
  }
  html = read(workdir, results, {bad: bad, 'data': {bad: {bad: bad}}})
  assert '<b title' not in html
  assert Page(html).text.count(bad) >= 24


def test_losses_that_are_not_finite_are_counted(workdir):
  with (workdir / 'metrics.jsonl').open('a') as file:
    file.write('{"step": 20100, "loss": null}\n{"step": 20200, "lo')
  assert '1 of 202 losses were not finite.' in Page(read(workdir)).text


def test_the_terms_of_a_loss_have_a_line_and_a_name_each(tmp_path):
  with MetricsWriter(tmp_path) as metrics:
    for step in range(3):
      metrics.write(step, loss=step + 3, loss_mean=1, loss_cross_entropy=step)
  text = Page(read(tmp_path)).text
  for words in (
    'loss: 3 at step 0, 5 at step 2; mean: 1 at step 0, 1 at step 2; cross '
    'entropy: 0 at step 0, 2 at step 2',
    'Loss loss mean cross entropy',
  ):
    assert words in text, words


def test_a_run_without_metrics_has_no_curve(tmp_path):
  assert 'Loss by step' not in read(tmp_path)
  (tmp_path / 'metrics.jsonl').write_text('{"step": 0, "loss": 1.0}\n')
  assert 'too few losses' in read(tmp_path)


def test_the_summary_is_aligned():
  assert summary(RESULTS) == [
    'synthetic (10 per class)    92.3 ± 0.4 %   5 networks   6.4 kB',
    'random real (10 per class)  85.0 ± 0.8 %   3 networks   6.4 kB',
    'whole set (1,437 images)    98.6       %   1 network    92 kB',
    'Bytes: of the stored images without labels, 8 bits per value; of random'
    ' JPEG its files.',
  ]


def test_results_may_come_from_a_file(workdir):
  assert read(workdir, json.loads(json.dumps(RESULTS))) == read(workdir)


def draw(workdir, name):
  """Leaves a drawing where a run does; its bytes."""
  picture = b'<svg xmlns="http://www.w3.org/2000/svg"/>'
  (workdir / 'figures').mkdir(exist_ok=True)
  (workdir / f'figures/{name}.svg').write_bytes(picture)
  return picture


def drawings(page):
  """The drawings embedded in a page, by what they show."""
  start = 'data:image/svg+xml;base64,'
  return {
    picture['alt']: base64.b64decode(picture['src'].removeprefix(start))
    for picture in page.all('img')
    if picture['src'].startswith(start)
  }


def test_a_run_of_continual_learning_shows_what_it_found(workdir, continual):
  drawn = draw(workdir, 'accuracy')
  page = Page(read(workdir, RESULTS | {'continual': continual}))
  for words in (
    'Accuracy on the test set',
    'Accuracy as classes arrive Bands reach one standard deviation',
    'After DM 5 classes 98.0 ± 1.0 10 classes 92.0 ± 2.0',
    'Forgetting 5.1 ± 0.4 Time per class 3.2 s Bytes per class 640 bytes',
    'over 1 order of the classes × 2 networks.',
    'Chaudhry et al., ECCV 2018',
    '| 10 classes | 92.0 ± 2.0 |',
    r'10 classes & 92.0 $\pm$ 2.0 \\',
  ):
    assert words in page.text, words
  assert 'Ranking of architectures' not in page.text
  assert list(drawings(page).values()) == [drawn]
  assert len(page.all('details')) == 4


def test_a_run_of_architecture_search_shows_what_it_found(workdir, search):
  drawn = draw(workdir, 'ranking')
  results = without('evaluations') | {'search': search}
  page = Page(read(workdir, results))
  for words in (
    'Ranking of architectures A dot is one architecture.',
    'Ranked by DM whole set Correlation, all 2 1.00 / 0.75 –',
    'Correlation, best 5 % (1) undefined –',
    'Test accuracy of the picked, % 97.0 98.1',
    'Time 2 min 10 s 6 min 40 s',
    'Picked by DM: ConvNet, width 16.',
    '| Time | 2 min 10 s | 6 min 40 s |',
    r'Time & 2 min 10 s & 6 min 40 s \\',
  ):
    assert words in page.text, words
  # Its networks were tested, though not as those of other runs are.
  assert 'Accuracy on the test set' not in page.text
  assert 'No accuracies yet' not in page.text
  assert 'Accuracy as classes arrive' not in page.text
  assert list(drawings(page).values()) == [drawn]


def test_a_drawing_that_is_not_there_is_left_out(workdir, continual, search):
  results = RESULTS | {'continual': continual, 'search': search}
  before = read(workdir, results)
  assert drawings(Page(before)) == {}
  assert 'Bands reach' not in before
  # Only those of the run's own application are shown.
  draw(workdir, 'accuracy')
  draw(workdir, 'ranking')
  assert drawings(Page(read(workdir))) == {}
  page = Page(read(workdir, results))
  assert len(drawings(page)) == 2
  assert not re.search(r'https?://', read(workdir, results))


def test_the_summary_ends_with_the_tables_of_applications(continual, search):
  lines = summary(RESULTS | {'continual': continual, 'search': search})
  whole = lines.index(summary(RESULTS)[-1])
  assert lines[whole + 1 : whole + 6] == [
    '',
    'digits: accuracy on the classes seen, in %',
    '',
    'After            DM',
    '---------------  ----------',
  ]
  assert lines.index('digits: rankings of architectures') > whole + 6
  assert 'Correlation, all 2              1.00 / 0.75  –' in lines
  assert '' not in (lines[0], lines[-1])


def test_the_summary_of_a_search_is_its_table(search):
  lines = summary(without('evaluations') | {'search': search})
  assert lines[0] == 'digits: rankings of architectures'


@pytest.mark.parametrize('method', ['dm', 'random'])
def test_tables_stand_one_empty_line_apart(method, continual):
  # A run of random images brings no warnings, which would come between.
  lines = summary(LARGE | {'method': method, 'continual': continual})
  title = lines.index('digits: accuracy on the classes seen, in %')
  assert lines[title - 1] == ''
  assert lines[title - 2] != ''


def test_what_an_application_holds_is_escaped(workdir, continual, search):
  bad = '<b title="x">&amp;'
  picked = search['agreement']['dm'] | {'picked': bad, 'best': bad}
  results = RESULTS | {
    'data': DATA | {'name': bad},
    'continual': continual
    | {'store': bad, 'methods': {bad: continual['methods']['dm']}},
    'search': search | {'agreement': {bad: picked}},
  }
  html = read(workdir, results)
  assert '<b title' not in html
  assert Page(html).text.count(bad) >= 8
