"""Many runs: which cases, in which order, each in a fresh kernel; the searches; what the terminal says of them.

What one run measures belongs in run/, what is made of records in analysis/, pages in pages/ (they are passed in).
"""
