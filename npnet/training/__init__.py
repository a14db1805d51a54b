"""Training NPNet with Lightning: ``module`` is the LightningModule, ``command`` what train.py runs."""
