from html.parser import HTMLParser

import pytest

from dm_jax.report.table import Table

TABLE = Table(
  'a_b: 5 %',
  ('Images per class', 'DM, ours'),
  (('1', '25.9 ± 0.8'), ('1,000', '–')),
  ('Command: run --a=b_c | d & <e>.',),
)


def test_text_is_aligned_under_wrapped_headings():
  assert TABLE.as_text().splitlines() == [
    'a_b: 5 %',
    '',
    'Images per',
    'class       DM, ours',
    '----------  ----------',
    '1           25.9 ± 0.8',
    '1,000       –',
    '',
    'Command: run --a=b_c | d & <e>.',
  ]


def test_long_notes_are_wrapped_but_flags_stay_whole():
  flag = f'--{"long-name-" * 12}'
  lines = Table('t', ['a'], [['b']], [f'{"word " * 30}{flag}']).as_text()
  assert flag in lines.splitlines()
  assert all(len(line) <= 80 for line in lines.splitlines() if line != flag)


def test_markdown_is_escaped():
  assert TABLE.as_markdown().splitlines() == [
    r'**a\_b: 5 %**',
    '',
    '| Images per class | DM, ours |',
    '| --- | --- |',
    '| 1 | 25.9 ± 0.8 |',
    '| 1,000 | – |',
    '',
    r'Command: run --a=b\_c \| d & \<e>.',
  ]


def test_latex_is_a_booktabs_table():
  lines = TABLE.as_latex().splitlines()
  assert lines[2:-2] == [
    r'\caption{a\_b: 5 \%}',
    r'\begin{tabular}{ll}',
    r'\toprule',
    r'Images per class & DM, ours \\',
    r'\midrule',
    r'1 & 25.9 $\pm$ 0.8 \\',
    r'1,000 & -- \\',
    r'\bottomrule',
    r'\end{tabular}',
  ]
  # '--' would be set as one dash.
  assert (
    r'run -{}-a=b\_c \textbar{} d \& \textless{}e\textgreater{}.' in (lines[-2])
  )


@pytest.mark.parametrize(
  ('text', 'latex'),
  [
    ('\\', r'\textbackslash{}'),
    ('#$^~{}', r'\#\$\textasciicircum{}\textasciitilde{}\{\}'),
    ("5 × 'a'", r'5 $\times$ \textquotesingle{}a\textquotesingle{}'),
    ('---', '-{}-{}-'),
  ],
)
def test_latex_escapes(text, latex):
  assert f'\n{latex} \\\\\n' in Table('t', ['a'], [[text]]).as_latex()


def test_html_is_escaped():
  bad = '<b title="x">&amp;'
  html = Table(bad, [bad], [[bad]], [bad]).as_html()
  tags, texts = [], []

  class Parser(HTMLParser):
    def handle_starttag(self, tag, attrs):
      tags.append(tag)

    def handle_data(self, data):
      texts.append(data.strip())

  Parser().feed(html)
  assert 'b' not in tags
  assert {'table', 'th', 'td', 'p'} <= set(tags)
  assert [text for text in texts if text] == [bad] * 3


def test_a_row_of_another_length_is_refused():
  with pytest.raises(ValueError, match='zip'):
    Table('t', ['a', 'b'], [['c']]).as_text()
