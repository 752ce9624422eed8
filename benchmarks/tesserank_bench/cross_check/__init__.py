"""The load test beside NVIDIA's perf_analyzer."""
