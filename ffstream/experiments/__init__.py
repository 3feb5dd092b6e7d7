"""Experiments with Forward-Forward: published figures reproduced, streams learned in one pass, choices compared."""
