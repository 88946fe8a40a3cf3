"""A crop store becomes batches: folds, sampler, transforms, dataset, datamodule."""
