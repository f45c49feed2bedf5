"""Where samples come from: one class a source, all of them in the table of sources.table; no source knows another."""
