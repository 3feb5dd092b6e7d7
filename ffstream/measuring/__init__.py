"""Common parts of all measurements: contenders to compare, and reports of the results."""
