"""Pure functions of numbers and records: statistics, bottleneck, verdict, heat, tables. No torch, no files, no HTML."""
