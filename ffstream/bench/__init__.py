"""Where speed is measured: ratios taken side by side in one run, each with its spread."""
