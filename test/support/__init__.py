"""What the Python suites share. Import as `from support import tree`."""
