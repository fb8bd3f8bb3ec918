"""Speed, memory and fidelity beside peers: see README.md."""
