"""What this machine is (facts), what it feels while it works (sampler, sources), and whether it is fit (doctor).

Nothing here measures an image model, and nothing imports torch: that is run's.
"""
