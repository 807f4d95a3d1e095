"""The engine: binds pipelines to inputs and machines, streams items through, keeps the journal."""
