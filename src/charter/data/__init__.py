"""Prompts in, Parquet out: sources of prompts, the schemas of every file, and shards that are whole or absent."""
