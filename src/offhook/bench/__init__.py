"""The load generator behind `offhook bench` and the scripts in `benchmarks/`."""
