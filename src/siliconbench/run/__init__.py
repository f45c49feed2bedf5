"""One run in one process: what measure.ipynb imports. Here: the device, synthetic images, the loader, the model, the
timing loop, the passes, the checks of a run and its record. Not here: what several runs say together (analysis, sweep).
"""
