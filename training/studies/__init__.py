"""What is run once to learn something: ablation, designs, pseudo-labels, averaging."""
