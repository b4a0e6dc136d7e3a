"""Data sets: from files on disk to examples, records and training batches."""
