"""What a record is, how it is written, read with suspicion and shared; nothing that measures, computes or shows."""
