"""One run in one process, for measure.ipynb. Not here: what several runs say together (analysis, sweep)."""
