"""The parts of `bench/compare` and `bench/failover`: machine (where), servers and ensembles (who), measurements (what),
steady_writes (a client that tells every gap), record (how it is written down)."""
