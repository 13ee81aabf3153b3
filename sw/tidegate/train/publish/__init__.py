"""What publishes: cards, releases and reports."""
