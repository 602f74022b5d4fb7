"""The parts of `bench/compare`: machine (where), servers (who), measurements (what), record (how it is written down)."""
