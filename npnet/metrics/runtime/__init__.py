"""The scorers that ``Metric.load`` returns, with their models and their preprocessing."""
