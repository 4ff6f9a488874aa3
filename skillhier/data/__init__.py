"""Where batches come from: data sets on disk, windows of them, and the recording of new ones."""
