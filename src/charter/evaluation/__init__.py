"""What the constitution bought and what it cost: measures with intervals, and the gate."""
