"""Logs larger than one machine: cut into fragments, worked on by an engine, as on a laptop."""
