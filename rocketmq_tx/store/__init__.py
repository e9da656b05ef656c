"""Apache's store directory: commit log, consume queues, index, checkpoint. Files in, bytes out."""
