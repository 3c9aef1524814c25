"""The parts of tools/run_tests.py: suites, how each kind is found and counted, and what is printed."""
