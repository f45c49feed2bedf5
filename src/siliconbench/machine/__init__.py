"""What this machine is (facts), what it feels (sampler, sources), whether it is fit (doctor); nothing imports torch."""
