"""What a model or its gradients reveal about the data behind them."""
