"""What Forward-Forward reaches: published figures reproduced, streams lived through once, choices held side by side."""
