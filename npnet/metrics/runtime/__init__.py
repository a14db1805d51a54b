"""What ``Metric.load`` returns: scorers with their weights, and the models and pixels they are made of."""
