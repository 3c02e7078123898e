"""The networks: each family in a folder of its own."""
