"""Batches become logits: encoder, fusion, losses and the LightningModule."""
