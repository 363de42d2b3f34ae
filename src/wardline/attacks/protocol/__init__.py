"""What every attack shares: targets that count questions, budgets, results with intervals, the list of attacks."""
