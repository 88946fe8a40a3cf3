"""Where the network looks: class activation maps of each modality."""
