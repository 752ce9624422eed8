"""Quality of recommendations: leave-one-out over the whole catalogue, tesserank beside baselines."""
