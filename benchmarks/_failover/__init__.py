"""Parts of the benchmark `failover`."""
