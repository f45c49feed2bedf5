"""Many runs: which cases, in which order, each in a fresh kernel; the searches; the terminal. Pages are passed in."""
