"""Where samples come from: one class a source, all of them in the table of machine.sampler; none knows another."""
