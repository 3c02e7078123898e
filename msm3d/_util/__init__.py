"""What every floor stands on: words, files, memory, devices, progress. Knows nothing of scans and networks."""
